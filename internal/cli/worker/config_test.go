package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/version"
)

// run runs the program worker.
func run(ctx context.Context, vars map[string]string, args []string, stdout, stderr io.Writer) int {
	var environ []string
	for name, value := range vars {
		environ = append(environ, name+"="+value)
	}
	root := Run(environ, stdout, stderr)
	root.AddCommand(Config(environ, stdout), Devrelay(environ, stdout, stderr), Provision(environ, stdout, stderr))
	version.Add(root)
	return cli.Run(ctx, root, args, nil, stdout, stderr)
}

// said runs the worker with those variables and gives what it printed.
func said(t *testing.T, vars map[string]string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = run(t.Context(), vars, args, &out, &errOut)
	return out.String(), errOut.String(), status
}

// TestConfigurationPage: docs/configuration.md is what the code says.
func TestConfigurationPage(t *testing.T) {
	t.Parallel()
	got, stderr, status := said(t, map[string]string{"SMTP_MAX_SESSIONS": "77"}, "config", "--format", "markdown")
	if status != cli.OK {
		t.Fatal(stderr)
	}
	want, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/configuration.md is not what the code says; generate it: go run ./cmd/worker config --format markdown > docs/configuration.md")
	}
}

func TestConfigSources(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"NATS_URL": "nats://app:hunter2@n1.example:4222,nats://app:hunter2@n2.example:4222", "SMTP_URL": "smtp://relay.example",
		"SMTP_USERNAME": "app", "SMTP_PASSWORD_FILE": file, "POSTRIDER_RETRY_AFTER": "90s,2h", "SMTP_MAX_SESSIONS": "",
	}
	out, stderr, status := said(t, vars, "config", "--format", "json")
	if status != cli.OK {
		t.Fatal(stderr)
	}
	got := map[string]string{}
	for line := range strings.Lines(out) {
		var v struct{ Name, Value, Source string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		got[v.Name] = v.Value + " from " + v.Source
	}
	for name, want := range map[string]string{
		"NATS_URL":              "nats://REDACTED@n2.example:4222 from environment",
		"SMTP_PASSWORD":         "REDACTED from file " + file,
		"SMTP_USERNAME":         "app from environment",
		"POSTRIDER_RETRY_AFTER": "1m30s,2h from environment",
		"SMTP_MAX_SESSIONS":     "10 from default",
		"POSTRIDER_LANES":       "urgent=6,normal=3,bulk=1 from default",
		"POSTRIDER_LOG_MAIL":    "all from default",
		"NATS_TOKEN":            " from default",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	text, _, _ := said(t, vars, "config")
	if strings.Contains(out+text, "hunter2") || strings.Count(text, "\n") != len(got) {
		t.Errorf("a secret, or a line missing:\n%s", text)
	}
}

// TestConfigProblems: what keeps a worker from starting is said here too.
func TestConfigProblems(t *testing.T) {
	t.Parallel()
	out, stderr, status := said(t, map[string]string{"POSTRIDER_MAX_ATTEMPTS": "0", "POSTRIDER_LOG_MAIL": "some", "SMTP_URL": "smtp://u:hunter2@r"}, "config")
	if status != cli.Config || !strings.Contains(stderr, "POSTRIDER_MAX_ATTEMPTS: is 0") || !strings.Contains(stderr, `POSTRIDER_LOG_MAIL: "some"`) {
		t.Errorf("status %d: %s", status, stderr)
	}
	if _, stderr, status := said(t, map[string]string{"SMTP_HOST": "relay"}, "config"); status != cli.Config || !strings.Contains(stderr, "SMTP_HOST: unknown setting; use SMTP_URL") {
		t.Errorf("unknown setting: status %d: %s", status, stderr)
	}
	if !strings.Contains(out, "SMTP_MAX_SESSIONS ") || strings.Contains(out+stderr, "hunter2") {
		t.Errorf("%s%s", out, stderr)
	}
}

// TestWrongUse: one line says what is wrong and how it is right.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"confit": `unknown command "confit" for worker; usage: worker [config | devrelay | provision | version] [flags]`,
		"--odd":  "unknown flag --odd, --help lists them; usage: worker [config", "help confit": `unknown command "confit" for worker; usage`,
		"config --format yaml": `--format: "yaml" is not text, json or markdown; usage: worker config [flags]`,
		"config odd":           `unexpected argument "odd"; usage: worker config [flags]`, "provision odd": `unexpected argument "odd"; usage: worker provision`,
		"devrelay odd": `unexpected argument "odd"; usage: worker devrelay`, "devrelay --listen odd": `--listen: is not host:port; usage: worker devrelay`,
		"devrelay --dir": "--dir: its value is missing; usage: worker devrelay", "version odd": `unexpected argument "odd"; usage: worker version`,
	} {
		stdout, stderr, status := said(t, nil, strings.Split(args, " ")...)
		if status != cli.Usage || stdout != "" || !strings.HasPrefix(stderr, "worker: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
		}
	}
}

// TestHelpPaths: a command says how it is called in the program it is a part of.
func TestHelpPaths(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	root := &cobra.Command{Use: "mail"}
	root.AddCommand(Run(nil, &out, &out), Config(nil, &out))
	if status := cli.Run(t.Context(), root, []string{"worker", "--help"}, nil, &out, &out); status != cli.OK || !strings.Contains(out.String(), "mail config lists them") || !strings.Contains(out.String(), "587 mail worker\n") {
		t.Errorf("status %d: %s", status, out.String())
	}
	out.Reset()
	if cli.Run(t.Context(), root, []string{"config", "--help"}, nil, &out, &out); !strings.Contains(out.String(), "=20 mail config --format") {
		t.Error(out.String())
	}
}

// TestRulesFile: a file of rules is shown by its name, and every error of it keeps a worker
// from starting.
func TestRulesFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "relays.yaml")
	hold := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vars := map[string]string{"POSTRIDER_RELAYS": file, "SMTP_URL": "smtp://relay.example", "POSTRIDER_DATA_DIR": filepath.Join(t.TempDir(), "data")}
	hold("rules: [{code: 550, outcome: hold}]\n")
	if out, stderr, status := said(t, vars, "config"); status != cli.OK || !strings.Contains(out, "POSTRIDER_RELAYS             "+file) {
		t.Errorf("status %d: %s%s", status, out, stderr)
	}
	hold("rules: [{code: 50, outcome: held}]\nroutes: []\n")
	for _, args := range [][]string{{"config"}, nil} {
		_, stderr, status := said(t, vars, args...)
		for _, want := range []string{":1:16: code: is 50, ", `:1:29: outcome: is "held", `, `:2:1: unknown field "routes"`} {
			if status != cli.Config || !strings.Contains(stderr, "POSTRIDER_RELAYS: "+file+want) {
				t.Errorf("%q: status %d: %s", args, status, stderr)
			}
		}
	}
}

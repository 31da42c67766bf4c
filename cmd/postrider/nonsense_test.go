package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/version"
)

// foreign are words of the libraries that read values. They say nothing to people.
var foreign = regexp.MustCompile(`strconv|time: |parsing time|ParseInt|Atoi|ParseDuration|ParseBool|ParseAddr|invalid syntax|invalid duration|invalid URL escape|envconfig|jsontext|unmarshal|reflect|%!|invalid port|unknown port|missing port`)

// nonsense are values that no setting but a text can have.
var nonsense = []string{"nonsense", "99999999999999999999999", "-1", "1.5x", "5q", "%zz", "2030-13-45T00:00:00Z", "2030-02-30", "1d2", ":", "a:b:c", "a=b=c", "0x", "1e999", "true?", "smtp://[::1", "nats://%zz", "nats://h:99999", "smtp://h:99999", "h:99999", "h:x", "\x01"}

// TestNonsense: no flag and no setting answers a value that it cannot read with the
// words of a library.
func TestNonsense(t *testing.T) {
	t.Parallel()
	t.Run("flags", func(t *testing.T) {
		t.Parallel()
		a := &app{lookup: env.Of(nil)}
		root := a.root()
		root.AddCommand(a.commands(nil)...)
		version.Add(root)
		seen := 0
		eachFlag(root, func(cmd *cobra.Command, f *pflag.Flag) {
			if f.Name == "dir" || f.Name == "help" {
				return // any text is a directory
			}
			seen++
			for _, value := range nonsense {
				args := append(strings.Fields(cmd.CommandPath())[1:], "--"+f.Name+"="+value)
				args = append(args, operands(t, cmd)...)
				said(t, []string{"NATS_URL=nats://127.0.0.1:9", "POSTRIDER_DATA_DIR=" + t.TempDir()}, args)
			}
		})
		if seen < 60 {
			t.Errorf("only %d flags", seen)
		}
	})
	t.Run("settings", func(t *testing.T) {
		t.Parallel()
		_, stdout, _ := postrider(t, nil, "config", "--format", "json")
		seen := 0
		for line := range strings.Lines(stdout) {
			var setting struct{ Name string }
			if err := json.Unmarshal([]byte(line), &setting); err != nil {
				t.Fatal(err)
			}
			seen++
			for i, value := range append([]string{"nonsense", "%zz", "h:99999", os.DevNull, filepath.Join(t.TempDir(), "no", "such", "file")}, nonsense...) {
				environ := []string{setting.Name + "=" + value}
				said(t, environ, []string{"config"})
				if i >= 5 {
					continue // the settings are read by the same code
				}
				if !strings.HasPrefix(setting.Name, "NATS_URL") {
					environ = append(environ, "NATS_URL=nats://127.0.0.1:9")
				}
				for _, args := range []string{"status", "doctor", "publish --from a@b --to c@d --text x", "healthcheck"} {
					said(t, environ, strings.Fields(args))
				}
			}
		}
		if seen < 35 {
			t.Errorf("only %d settings", seen)
		}
	})
}

func eachFlag(cmd *cobra.Command, visit func(*cobra.Command, *pflag.Flag)) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { visit(cmd, f) })
	for _, sub := range cmd.Commands() {
		eachFlag(sub, visit)
	}
}

// operands are arguments with which the command gets as far as its flags.
func operands(t *testing.T, cmd *cobra.Command) []string {
	t.Helper()
	switch cmd.CommandPath() {
	case "postrider publish":
		return strings.Fields("--from a@b --to c@d --text x")
	case "postrider publish eml":
		file := filepath.Join(t.TempDir(), "x.eml")
		if err := os.WriteFile(file, []byte("From: a@b\nTo: c@d\n\nhi\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{file}
	case "postrider show", "postrider dead show":
		return []string{"m1"}
	}
	return nil
}

// said runs the command, which ends because it is interrupted or wrong, and looks at
// what it says.
func said(t *testing.T, environ, args []string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	if args[0] == "devrelay" || args[0] == "provision" {
		interrupt()
	}
	defer interrupt()
	var out, errs bytes.Buffer
	status := run(ctx, args, environ, strings.NewReader(""), &out, &errs)
	if words := foreign.FindString(out.String() + errs.String()); words != "" {
		t.Errorf("%s postrider %q says %q: %d %s%s", environ[:1], args, words, status, out.String(), errs.String())
	}
	if status == cli.OK && errs.Len() > 0 && !strings.Contains(errs.String(), "warning") {
		t.Errorf("%s postrider %q: %s", environ[:1], args, errs.String())
	}
}

// TestManDate: the library that writes the pages reads the date itself.
func TestManDate(t *testing.T) {
	for _, s := range []string{"x", "99999999999999999999"} {
		t.Setenv("SOURCE_DATE_EPOCH", s)
		if status, _, stderr := postrider(t, nil, "man", t.TempDir()); status != cli.Config || stderr != fmt.Sprintf("postrider: SOURCE_DATE_EPOCH: %q is not a number of seconds\n", s) {
			t.Errorf("%d %s", status, stderr)
		}
	}
}

// TestDays: a duration in days is taken wherever a duration is.
func TestDays(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"events --since 1d", "events --until 1d12h", "dead list --since 1d", "dead replay --since 1d", "dead discard --until 1.5d", "publish --from a@b --to c@d --text x --in 1d --expires 2d"} {
		if status, _, stderr := postrider(t, []string{"NATS_URL=nats://127.0.0.1:9"}, strings.Fields(args)...); status != cli.TempFail {
			t.Errorf("%s: %d %s", args, status, stderr)
		}
	}
}

// TestWrongCredentials: it is not the broker that is away, so trying again does not help.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	url := natstest.StartServer(t, func(o *server.Options) { o.Username, o.Password = "ann", "right" })
	wrong := []string{"NATS_URL=" + url, "NATS_USER=ann", "NATS_PASSWORD=wr0ng", "SMTP_URL=smtp://127.0.0.1:9", "POSTRIDER_ADMIN=127.0.0.1:0"}
	for _, env := range [][]string{wrong, append([]string{wrong[0]}, wrong[3:]...)} {
		env = append(env, "POSTRIDER_DATA_DIR="+t.TempDir())
		for _, args := range append(commands, "publish --from a@b --to c@d --text x", "worker", "provision") {
			status, stdout, stderr := postrider(t, env, strings.Fields(args)...)
			if status != cli.NoPerm || !strings.Contains(stderr, "credentials") || strings.Contains(stdout+stderr, "wr0ng") {
				t.Errorf("%s: %d %s", args, status, stderr)
			}
		}
	}
}

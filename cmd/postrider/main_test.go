package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// postrider runs the command; env are NAME=value.
func postrider(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, env, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// TestWrongUse: one line says what is wrong and how it is right, before anybody
// is asked.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	const usage = "; usage: postrider dead replay {ID… | - | --reason … --to … --lane … --since … --until …} [flags]"
	for args, want := range map[string]string{
		"nosuch":                     `unknown command "nosuch" for postrider; usage: postrider [`,
		"help nosuch":                `unknown command "nosuch" for postrider; usage: postrider help [COMMAND]`,
		"--nosuch":                   "unknown flag --nosuch, --help lists them; usage: postrider [",
		"-x":                         "unknown flag -x, --help lists them; usage: postrider [",
		"status --json=maybe":        `--json: "maybe" is not true or false; usage: postrider status`,
		"completion odd":             `unknown shell "odd"`,
		"show":                       "ID is missing; usage: postrider show ID [flags]",
		"show ":                      "ID is empty; usage: postrider show ID [flags]",
		"show a b":                   `unexpected argument "b"; usage: postrider show ID [flags]`,
		"events x y":                 `unexpected argument "y"; usage: postrider events [ID] [flags]`,
		"events ":                    "ID is empty; usage: postrider events [ID] [flags]",
		"events --id x":              "unknown flag --id, --help lists them; usage: postrider events [ID] [flags]",
		"events --since soon":        `--since: "soon" is neither a time like "2030-01-02 15:04:05" or 2030-01-02T15:04:05Z nor a duration like 2h or 3d; usage: postrider events [ID] [flags]`,
		"events --until soon":        `--until: "soon" is neither`,
		"events --since":             "--since: its value is missing; usage: postrider events [ID] [flags]",
		"events --event odd":         `--event: "odd" is none of scheduled, deferred, `,
		"events --outcome failed":    "unknown flag --outcome, --help lists them; usage: postrider events [ID] [flags]",
		"events --recipient a@b":     "unknown flag --recipient, --help lists them; usage: postrider events [ID] [flags]",
		"dead list --recipient a@b":  "unknown flag --recipient, --help lists them; usage: postrider dead list [flags]",
		"events --lane UP":           `--lane: lane "UP" must be 1 to 32`,
		"events --follow --until 1h": "--follow, --until: give one of them; usage: postrider events [ID] [flags]",
		"events --tail 0":            "--tail: is 0, must be positive; usage: postrider events [ID] [flags]",
		"events --tail -2":           "--tail: is -2, must be positive; usage: postrider events [ID] [flags]",
		"dead nosuch":                `unknown command "nosuch" for postrider dead; usage: postrider dead [discard | list | replay | show] [flags]`,
		"dead list x":                `unexpected argument "x"; usage: postrider dead list [flags]`,
		"dead list --reason odd":     `--reason: "odd" is none of failed, exhausted, `,
		"dead list --since soon":     `--since: "soon" is neither `,
		"dead show":                  "ID is missing; usage: postrider dead show ID [flags]",
		"dead show a --json --body":  "--json, --body: give one of them; usage: postrider dead show ID [flags]",
		"dead replay":                "ID is missing, or a flag that says which dead letters are to be replayed" + usage,
		"dead replay a --lane x":     "name the dead letters by ID or by flags, not both" + usage,
		"dead discard --yes=x a":     `--yes: "x" is not true or false; usage: postrider dead discard {ID…`,
		"doctor x":                   `unexpected argument "x"; usage: postrider doctor [flags]`,
		"version x":                  `unexpected argument "x"; usage: postrider version [flags]`,
	} {
		status, stdout, stderr := postrider(t, []string{"NATS_URL=nats://127.0.0.1:9"}, strings.Split(args, " ")...)
		if status != cli.Usage || stdout != "" || !strings.HasPrefix(stderr, "postrider: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
		}
	}
}

// commands are those that read the queue.
var commands = []string{"status", "doctor", "show m1", "events", "dead list", "dead show m1", "dead replay m1", "dead discard m1"}

// TestNoWorker: with no worker, and so no broker, every command says what to do.
func TestNoWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range commands {
		status, _, stderr := postrider(t, []string{"NATS_LISTEN=127.0.0.1:9", "POSTRIDER_DATA_DIR=" + dir}, strings.Fields(args)...)
		if status != cli.TempFail || strings.Count(stderr, "\n") != 1 {
			t.Errorf("postrider %s: status %d: %s", args, status, stderr)
		}
		for _, want := range []string{"127.0.0.1:9", "start a worker", dir, "POSTRIDER_DATA_DIR", "NATS_URL", "nothing listens at", "brings its own broker ("} {
			if !strings.Contains(stderr, want) {
				t.Errorf("postrider %s: %q, want %q", args, stderr, want)
			}
		}
	}
}

// TestStoppedWorker: with the worker stopped, it is said where its mail is.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(broker.OperatorFile(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, stderr := postrider(t, []string{"NATS_LISTEN=127.0.0.1:9", "POSTRIDER_DATA_DIR=" + dir}, "status")
	if want := "; the worker's mail is kept in " + dir + " (POSTRIDER_DATA_DIR)"; !strings.Contains(stderr, want) {
		t.Errorf("%q, want %q", stderr, want)
	}
}

// TestElsewhere: beside a worker whose directory is another one, nobody waits.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	dir := t.TempDir()
	began := time.Now()
	for _, args := range commands {
		status, _, stderr := postrider(t, []string{"NATS_LISTEN=" + strings.TrimPrefix(b.Config.URL, "nats://"), "POSTRIDER_DATA_DIR=" + dir}, strings.Fields(args)...)
		if status != cli.TempFail || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, dir+", which has none: set POSTRIDER_DATA_DIR") {
			t.Errorf("postrider %s: status %d: %s", args, status, stderr)
		}
	}
	if took := time.Since(began); took >= connectFor {
		t.Errorf("it took %s", took)
	}
}

// TestUnknownVariable: it is said once, as an error or as a warning.
func TestUnknownVariable(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"config": "postrider: SMTP_HOST: unknown", "provision": "postrider: SMTP_HOST: unknown", "schema": "postrider: warning: SMTP_HOST: unknown",
	} {
		_, _, stderr := postrider(t, []string{"SMTP_HOST=x"}, args)
		if !strings.Contains(stderr, want) || strings.Count(stderr, "SMTP_HOST") != 1 {
			t.Errorf("%s: %s", args, stderr)
		}
	}
}

// TestNoSuchDeadLetter: one line for each that is not there, and no other.
func TestNoSuchDeadLetter(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	env := []string{"NATS_URL=" + b.Config.URL, "POSTRIDER_DATA_DIR=" + b.Config.DataDir}
	for args, want := range map[string]string{
		"dead replay m1":            "postrider: no dead letter matches m1; postrider dead list shows them\n",
		"dead discard m1 m2":        "postrider: no dead letter matches m1; postrider dead list shows them\npostrider: no dead letter matches m2; postrider dead list shows them\n",
		"dead list":                 "postrider: there is no dead letter\n",
		"dead list --since 1d":      "postrider: no dead letter matches\n",
		"dead replay --since 1d":    "postrider: no dead letter matches\n",
		"dead discard --until 1d":   "postrider: no dead letter matches\n",
		"dead replay -":             "postrider: standard input names no dead letter\n",
		"dead replay --lane normal": "postrider: no dead letter matches\n",
		"dead show m1":              "postrider: no dead letter m1: postrider dead list shows what there is, postrider show m1 shows what became of the message\n",
	} {
		if status, stdout, stderr := postrider(t, env, strings.Fields(args)...); status != exitNothing || stdout != "" || stderr != want {
			t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
		}
	}
}

// TestInterrupted: a signal ends a command that waits for ids on standard input.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	env := []string{"NATS_URL=" + b.Config.URL, "POSTRIDER_DATA_DIR=" + b.Config.DataDir}
	for args, want := range map[string]string{
		"dead replay -": "interrupted; nothing was replayed", "dead discard -": "interrupted; nothing was discarded",
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		stdin, writer := io.Pipe()
		go func() {
			_, _ = io.WriteString(writer, "m1\n")
			interrupt()
		}()
		var out, errs bytes.Buffer
		status := run(ctx, strings.Fields(args), env, stdin, &out, &errs)
		if status != cli.TempFail || out.String()+errs.String() != "postrider: "+want+"\n" {
			t.Errorf("%s: status %d: %s%s", args, status, out.String(), errs.String())
		}
		_ = writer.Close()
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, args := range commands {
		var errs bytes.Buffer
		if status := run(ctx, strings.Fields(args), env, nil, io.Discard, &errs); status != cli.TempFail || errs.String() != "postrider: interrupted\n" {
			t.Errorf("%s: status %d: %s", args, status, errs.String())
		}
	}
}

// TestSameFindings: what status calls wrong, doctor calls wrong too, and says the same.
func TestSameFindings(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	store := b.Conn.Store()
	dead := deadletter.New(store, journal.New(store), b.Conn.Now)
	key := wire.Key{Lane: "normal", ID: "m1", Origin: "1700000000000000000-7", Recipient: wire.All}
	if _, err := dead.Bury(t.Context(), &wire.DeadLetter{Copy: wire.Copy{Key: key, Generation: 1}, Reason: mail.ReasonFailed, Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	env := []string{"NATS_URL=" + b.Config.URL, "POSTRIDER_DATA_DIR=" + b.Config.DataDir}
	_, stdout, stderr := postrider(t, env, "status", "--json")
	var status struct {
		Wrong []queue.Finding `json:"wrong"`
	}
	if err := json.Unmarshal([]byte(stdout), &status); err != nil || len(status.Wrong) != 1 || status.Wrong[0].Check != "dead" {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	code, stdout, _ := postrider(t, env, "doctor", "--json")
	same := false
	for line := range strings.Lines(stdout) {
		var f queue.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		w := status.Wrong[0]
		w.Found = f.Found // which has its age
		same = same || f == w
	}
	if code != exitProblems || !same { // no worker takes mail
		t.Errorf("status %d: none is %+v:\n%s", code, status.Wrong[0], stdout)
	}
}

// TestNoQuorum: with one of three servers left, commands say that, and not that another
// user is needed.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, "normal")
	n.Stop(1)
	n.Stop(2)
	for _, args := range []string{"status", "doctor", "show x", "publish --from a@example.com --to b@example.net --text hi"} {
		var status int
		var said string
		testrun.Eventually(t, args+": it says why", 30*time.Second, func() bool {
			var stdout, stderr string
			status, stdout, stderr = postrider(t, []string{"NATS_URL=" + n.Config.URL, "POSTRIDER_DATA_DIR=" + n.Config.DataDir}, strings.Split(args, " ")...)
			said = stdout + stderr
			return strings.Contains(said, "no leader or quorum")
		}, func() string { return said })
		// A server that led before the others were lost still tells doctor of the streams.
		exits := status == cli.TempFail || args == "doctor" && status == exitProblems
		if !exits || strings.Contains(said, "NATS_CREDS") || !strings.Contains(said, "start the servers") && !strings.Contains(said, "try again") {
			t.Errorf("%s: status %d: %s", args, status, said)
		}
	}
}

// TestStoreClosed: if the embedded broker has closed its store, nobody is told to set
// another credential.
func TestStoreClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url := natstest.StartClosed(t, dir)
	for _, args := range []string{"status", "doctor", "show x", "dead list"} {
		status, stdout, stderr := postrider(t, []string{"NATS_URL=" + url, "POSTRIDER_DATA_DIR=" + dir}, strings.Split(args, " ")...)
		said := stdout + stderr
		if status == cli.OK || !strings.Contains(said, "closed or does not answer") || !strings.Contains(said, "make room in "+dir) || strings.Contains(said, "NATS_CREDS") {
			t.Errorf("%s: status %d: %s", args, status, said)
		}
		if args == "doctor" && !strings.Contains(said, "are free") {
			t.Errorf("doctor does not judge the disk: %s", said)
		}
	}
}

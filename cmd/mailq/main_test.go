package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/natstest"
)

// mailq runs the command; env are NAME=value.
func mailq(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		for _, v := range env {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
	var out, errs bytes.Buffer
	status = run(t.Context(), args, lookup, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// TestWrongUse: one line says what is wrong and how it is right, before anybody
// is asked.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	const letters = "; usage: mailq dead replay {ID… | - | --reason … --recipient … --lane … --since … --until …} [flags]"
	for args, want := range map[string]string{
		"nosuch":                     `"nosuch" is no command of mailq; usage: mailq [dead | doctor | events | show | version] [flags]`,
		"help nosuch":                `"nosuch" is no command of mailq; usage: mailq help [COMMAND]`,
		"--nosuch":                   "there is no flag --nosuch, --help lists them; usage: mailq [dead | ",
		"-x":                         "there is no flag -x, --help lists them; usage: mailq [dead | ",
		"--json=maybe":               `--json: "maybe" is not true or false; usage: mailq [dead | `,
		"show":                       "ID is missing; usage: mailq show ID [flags]",
		"show ":                      "ID is empty; usage: mailq show ID [flags]",
		"show a b":                   `"b" is one too many; usage: mailq show ID [flags]`,
		"events x":                   `"x" is one too many; usage: mailq events [flags]`,
		"events --since soon":        `--since: "soon" is neither a time like 2030-01-02T15:04:05Z nor a duration like 2h; usage: mailq events [flags]`,
		"events --until soon":        `--until: "soon" is neither`,
		"events --since":             "--since: its value is missing; usage: mailq events [flags]",
		"events --outcome odd":       `--outcome: "odd" is none of scheduled, deferred, `,
		"events --lane UP":           `--lane: lane "UP" must be 1 to 32`,
		"events --follow --until 1h": "--follow waits for what comes, --until ends before: give one of them; usage: mailq events [flags]",
		"dead nosuch":                `"nosuch" is no command of mailq dead; usage: mailq dead [discard | list | replay | show] [flags]`,
		"dead list x":                `"x" is one too many; usage: mailq dead list [flags]`,
		"dead list --reason odd":     `--reason: "odd" is none of `,
		"dead list --since soon":     `--since: "soon" is neither `,
		"dead show":                  "ID is missing; usage: mailq dead show ID [flags]",
		"dead show a --json --body":  "--json, --body: give one of them; usage: mailq dead show ID [flags]",
		"dead replay":                "ID is missing, or a flag that says which letters are to be replayed" + letters,
		"dead replay a --lane x":     "name the letters by ID or by flags, not both" + letters,
		"dead discard --yes=x a":     `--yes: "x" is not true or false; usage: mailq dead discard {ID…`,
		"doctor x":                   `"x" is one too many; usage: mailq doctor [flags]`,
		"version x":                  `"x" is one too many; usage: mailq version [flags]`,
	} {
		status, stdout, stderr := mailq(t, []string{"NATS_URL=nats://127.0.0.1:9"}, strings.Split(args, " ")...)
		if status != cli.Usage || stdout != "" || !strings.HasPrefix(stderr, "mailq: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
		}
	}
}

// commands are those that read the queue.
var commands = []string{"", "doctor", "show m1", "events", "dead list", "dead show m1", "dead replay m1", "dead discard m1"}

// TestNoWorker: with no worker, and so no broker, every command says what to do.
func TestNoWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range commands {
		status, _, stderr := mailq(t, []string{"NATS_LISTEN=127.0.0.1:9", "POSTRIDER_DATA_DIR=" + dir}, strings.Fields(args)...)
		if status != cli.TempFail || strings.Count(stderr, "\n") != 1 {
			t.Errorf("mailq %s: status %d: %s", args, status, stderr)
		}
		for _, want := range []string{"127.0.0.1:9", "start a worker", dir, "POSTRIDER_DATA_DIR", "NATS_URL", "a worker is started with: "} {
			if !strings.Contains(stderr, want) {
				t.Errorf("mailq %s: %q, want %q", args, stderr, want)
			}
		}
	}
}

// TestElsewhere: beside a worker whose directory is another one, nobody waits.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	dir := t.TempDir()
	began := time.Now()
	for _, args := range commands {
		status, _, stderr := mailq(t, []string{"NATS_LISTEN=" + strings.TrimPrefix(b.Config.URL, "nats://"), "POSTRIDER_DATA_DIR=" + dir}, strings.Fields(args)...)
		if status != cli.TempFail || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, dir+", which has none: set POSTRIDER_DATA_DIR") {
			t.Errorf("mailq %s: status %d: %s", args, status, stderr)
		}
	}
	if took := time.Since(began); took >= connectFor {
		t.Errorf("it took %s", took)
	}
}

// TestNoSuchLetter: one line for each that is not there, and no other.
func TestNoSuchLetter(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	env := []string{"NATS_URL=" + b.Config.URL, "POSTRIDER_DATA_DIR=" + b.Config.DataDir}
	for args, want := range map[string]string{
		"dead replay m1":            "mailq: no dead letter matches m1; mailq dead list shows them\n",
		"dead discard m1 m2":        "mailq: no dead letter matches m1; mailq dead list shows them\nmailq: no dead letter matches m2; mailq dead list shows them\n",
		"dead replay -":             "mailq: standard input names no letter\n",
		"dead replay --lane normal": "mailq: no dead letter matches\n",
		"dead show m1":              "mailq: no dead letter m1: mailq dead list shows them, mailq show m1 what became of it\n",
	} {
		if status, stdout, stderr := mailq(t, env, strings.Fields(args)...); status != exitNothing || stdout != "" || stderr != want {
			t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
		}
	}
}

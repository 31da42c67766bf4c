package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/cli"
)

// TestRelayCheck: what the file has, which rule decides on a reply, and what the table says
// if none does.
func TestRelayCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", `rules:
  - {stage: dot, code: 454, text: 'Throttling', outcome: throttled, pause: 30s, note: "account's rate"}
  - {code: 550, outcome: hold}
`)
	bad := file("bad.yaml", "rules:\n  - {code: 55, outcome: hold}\n  - 3\n")
	byEnv := []string{"POSTRIDER_RELAYS=" + good}
	for _, c := range []struct {
		env    []string
		args   []string
		status int
		want   string
	}{
		{byEnv, nil, cli.OK, good + ": 2 rules, nothing is wrong\n"},
		{nil, []string{"--file", good}, cli.OK, good + ": 2 rules, nothing is wrong\n"},
		{[]string{"POSTRIDER_RELAYS=" + bad}, []string{"--file", good}, cli.OK, good + ": 2 rules, nothing is wrong\n"},
		{byEnv, []string{"--json"}, cli.OK, `{"file":"` + good + `","rules":2}` + "\n"},
		{byEnv, []string{"--reply", "454 Throttling failure", "--stage", "dot"}, cli.OK, good + `: the rule in line 2, text "Throttling": throttled: all mail pauses, and nothing is counted (account's rate)` + "\n"},
		{byEnv, []string{"--reply", "550 5.7.1 no", "--stage", "rcpt"}, cli.OK, good + ": the rule in line 3: hold: the relay is held, all mail waits, and nothing is counted\n"},
		{byEnv, []string{"--reply", "454 Throttling failure", "--stage", "dot", "--json"}, cli.OK, `{"file":"` + good + `","line":2,"rule":"throttled","text":"Throttling","note":"account's rate","outcome":"throttled: all mail pauses, and nothing is counted"}` + "\n"},
		{byEnv, []string{"--reply", "554 no", "--stage", "dot"}, cli.OK, "no rule matches; the reply table: failed, for good, unless it comes to one message after the other\n"},
		{nil, []string{"--reply", "451 4.7.1 greylisted", "--stage", "rcpt"}, cli.OK, "no file of rules is set (POSTRIDER_RELAYS, --file); the reply table: deferred: tried again later, and counted\n"},
		{nil, []string{"--reply", "451 4.7.1 greylisted", "--stage", "rcpt", "--json"}, cli.OK, `{"outcome":"deferred: tried again later, and counted"}` + "\n"},

		{nil, nil, cli.Usage, "postrider: no file of rules is set: set POSTRIDER_RELAYS, or name it with --file; usage: postrider relay check [flags]\n"},
		{byEnv, []string{"--file="}, cli.Usage, "postrider: --file: is empty; usage: postrider relay check [flags]\n"},
		{byEnv, []string{"odd"}, cli.Usage, `postrider: unexpected argument "odd"; usage: postrider relay check [flags]` + "\n"},
		{byEnv, []string{"--stage", "dot"}, cli.Usage, "postrider: --stage: does nothing without --reply; usage: postrider relay check [flags]\n"},
		{byEnv, []string{"--reply", "550 no"}, cli.Usage, "postrider: --reply: add --stage, the step at which the relay says it: mail, rcpt, data, body, dot; usage: postrider relay check [flags]\n"},
		{byEnv, []string{"--reply", "550 no", "--stage", "auth"}, cli.Usage, `postrider: --stage: "auth" is none of mail, rcpt, data, body, dot; usage: postrider relay check [flags]` + "\n"},
		{byEnv, []string{"--reply", "no", "--stage", "dot"}, cli.Usage, `postrider: --reply: "no" is not a reply like 550 5.7.1 words; usage: postrider relay check [flags]` + "\n"},
		{byEnv, []string{"--reply", "550-no", "--stage", "dot"}, cli.Usage, `postrider: --reply: "550-no" is not a whole reply: its last line must be like 550 5.7.1 words; usage: postrider relay check [flags]` + "\n"},

		{nil, []string{"--file", bad}, cli.Config, "postrider: --file: " + bad + ":2:12: code: is 55, must be a number from 400 to 599, or a list of them\n" +
			"postrider: --file: " + bad + ":3:5: a rule is 3, must have the fields: stage, code, enhanced, text, outcome, pause, note\n"},
		{[]string{"POSTRIDER_RELAYS=" + bad}, []string{"--reply", "550 no", "--stage", "dot"}, cli.Config, "postrider: POSTRIDER_RELAYS: " + bad + ":2:12: code: is 55, "},
		{nil, []string{"--file", dir}, cli.Config, "postrider: --file: " + dir + ": is not a regular file\n"},
	} {
		status, stdout, stderr := postrider(t, c.env, append([]string{"relay", "check"}, c.args...)...)
		if said := stdout + stderr; status != c.status || !strings.HasPrefix(said, c.want) || status == cli.OK && stderr != "" {
			t.Errorf("%q: status %d, want %d:\n%swant\n%s", c.args, status, c.status, said, c.want)
		}
	}
	if status, stdout, _ := postrider(t, nil, "relay"); status != cli.OK || !strings.Contains(stdout, "check") {
		t.Errorf("relay alone: %d %s", status, stdout)
	}
	if status, _, stderr := postrider(t, nil, "relay", "odd"); status != cli.Usage || !strings.HasPrefix(stderr, `postrider: unknown command "odd" for postrider relay; usage: postrider relay [check] [flags]`) {
		t.Errorf("relay odd: %d %s", status, stderr)
	}
}

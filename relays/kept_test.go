package relays

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// some is a file of n rules.
func some(n int) string {
	all := "rules:\n"
	for i := range n {
		all += fmt.Sprintf("  - {code: %d, outcome: failed}\n", 550+i)
	}
	return all
}

// TestKept: a changed file is in force at once. A bad one is said once, with line and
// column, and leaves the former rules in force; and so does one that is away.
func TestKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "relays.yaml")
	write(t, path, some(1))
	var said bytes.Buffer
	k, err := Config{Path: path}.Keep(slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const bad = "rules:\n  - {code: 55, outcome: failed}\n"
	for i, c := range []struct {
		change func()
		want   int
		says   []string
		fault  string
	}{
		{func() {}, 1, nil, ""},
		{func() { write(t, path, some(2)) }, 2, []string{"level=INFO", "has changed, and its rules are in force", "rules=2"}, ""},
		{func() {}, 2, nil, ""},
		{func() { write(t, path, bad) }, 2, []string{"level=ERROR", path + " is wrong now", "the former rules stay in force", "2:12: code: is 55"}, path + ":2:12: code: is 55, must be a number from 400 to 599, or a list of them"},
		{func() {}, 2, nil, path + ":2:12: code: is 55, "},
		{func() { write(t, path, bad+"  - 7\n") }, 2, []string{"level=ERROR", "2:12: code: is 55", "3:5: a rule is 7"}, path + ":2:12: code: is 55, must be a number from 400 to 599, or a list of them; and 1 more error"},
		{func() { _ = os.Remove(path) }, 2, []string{"level=WARN", "cannot be read again", "no such file"}, "stat " + path + ": no such file"},
		{func() { write(t, path, bad+"  - 7\n") }, 2, nil, path + ":2:12: code: is 55, "},
		{func() { write(t, path, "") }, 2, []string{"level=ERROR", "the file is empty"}, path + ":1:1: the file is empty"},
		{func() { write(t, path, some(2)) }, 2, []string{"level=INFO", "rules=2"}, ""},
		{func() { _ = os.Remove(path) }, 2, []string{"level=WARN", "cannot be read again", "no such file"}, "stat " + path + ": no such file"},
		{func() {}, 2, nil, "stat " + path + ": no such file"},
		{func() { write(t, path, some(2)) }, 2, nil, ""},
		{func() { write(t, path, some(3)) }, 3, []string{"level=INFO", "rules=3"}, ""},
		{func() { write(t, path, "rules: []\n") }, 0, []string{"level=INFO", "rules=0"}, ""},
	} {
		said.Reset()
		before, changed := k.Fault()
		c.change()
		if got := len(k.Rules()); got != c.want || strings.Count(said.String(), "\n") != min(len(c.says), 1) {
			t.Errorf("%d: %d rules, want %d; said %s", i, got, c.want, said.String())
		}
		for _, want := range c.says {
			if !strings.Contains(said.String(), want) {
				t.Errorf("%d: does not say %s: %s", i, want, said.String())
			}
		}
		fault, _ := k.Fault()
		if (fault == "") != (c.fault == "") || c.fault != "" && !strings.HasPrefix(fault, "POSTRIDER_RELAYS: "+c.fault) {
			t.Errorf("%d: the fault is %q, want %q", i, fault, c.fault)
		}
		select {
		case <-changed:
			if fault == before {
				t.Errorf("%d: it says that the fault %q has changed", i, fault)
			}
		default:
			if fault != before {
				t.Errorf("%d: it does not say that the fault has changed", i)
			}
		}
	}
}

// TestNoFile: without a file there are no rules, and nothing is wrong with them.
func TestNoFile(t *testing.T) {
	t.Parallel()
	var k *Kept
	if fault, changed := k.Fault(); fault != "" || changed != nil || k.Rules() != nil {
		t.Errorf("%q, %v, %v", fault, changed, k.Rules())
	}
}

// TestParsedOnce: a content is parsed once, however many replies there are at once.
func TestParsedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "relays.yaml")
	write(t, path, some(1))
	k, err := Config{Path: path}.Keep(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first := &k.Rules()[0]
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 10 {
				if &k.Rules()[0] != first {
					t.Error("it was parsed again")
				}
			}
		})
	}
	all.Wait()
}

// TestConfig: every error of a file is reported at a start, with the setting and the file.
func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	write(t, good, some(1))
	write(t, bad, "rules: [{code: 1, outcome: failed}, {code: 550, outcome: x}]\n")
	for path, want := range map[string][]string{
		"": nil, good: nil,
		bad:                             {"POSTRIDER_RELAYS: " + bad + ":1:16: code: is 1, ", "POSTRIDER_RELAYS: " + bad + `:1:58: outcome: is "x", `},
		dir:                             {"POSTRIDER_RELAYS: " + dir + ": is not a regular file"},
		filepath.Join(dir, "none.yaml"): {"POSTRIDER_RELAYS: stat " + filepath.Join(dir, "none.yaml") + ": no such file"},
	} {
		c := Config{Path: path}
		got := c.Validate()
		if len(got) != len(want) {
			t.Errorf("%s: %v", path, got)
			continue
		}
		for i := range want {
			if !strings.HasPrefix(got[i].Error(), want[i]) {
				t.Errorf("%s: %v, want %s", path, got[i], want[i])
			}
		}
		k, err := c.Keep(slog.New(slog.DiscardHandler))
		if (err != nil) != (len(want) > 0) || (k != nil) != (path == good) {
			t.Errorf("%s: %v, %v", path, k, err)
		}
		if n := fmt.Sprint(len(c.Files())); (n == "0") != (path == "") {
			t.Errorf("%s: %s files", path, n)
		}
		for _, f := range c.Files() {
			if _, err := f.Read(); (err != nil) != (len(want) > 0) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

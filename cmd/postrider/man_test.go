package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
)

// TestMan: each command has a page, with every word of its help and its columns.
func TestMan(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "share", "man1")
	if status, stdout, stderr := postrider(t, nil, "man", dir); status != cli.OK || stdout+stderr != "" {
		t.Fatalf("status %d: %s%s", status, stdout, stderr)
	}
	plain := strings.NewReplacer(`\\`, `\`, `\`, "") // as roff reads it
	page := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
		}
		return plain.Replace(string(b))
	}
	a := &app{}
	root := a.root()
	root.AddCommand(a.commands(nil)...)
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		got := page(strings.ReplaceAll(cmd.CommandPath(), " ", "-"))
		for word := range strings.FieldsSeq(cmd.Short + " " + cmd.Long + " " + cmd.Example) {
			if !strings.Contains(got, word) && !strings.Contains(word, "{") {
				t.Errorf("%s: %q is missing", cmd.CommandPath(), word)
			}
		}
		for _, sub := range cmd.Commands() {
			if !sub.Hidden {
				check(sub)
			}
		}
	}
	check(root)
	if got := page("postrider-publish"); !strings.Contains(got, `"a@b" or "Name <a@b>"`) {
		t.Errorf("an address became a link:\n%s", got)
	}
	got := page("postrider-status")
	for _, want := range []string{`"Nov 2023"`, "\n  in flight  taken by a worker"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	if status, _, stderr := postrider(t, nil, "man", filepath.Join(dir, "postrider.1", "x")); status != cli.InOut || !strings.Contains(stderr, "make the directory of the man pages") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

package reread

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNow: the content of this moment, also if a directory takes the place of another
// one, as with the secrets of Kubernetes; else the last that was good, said once.
func TestNow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "now", "secret")
	hold := func(version, content string) {
		t.Helper()
		err := errors.Join(
			os.MkdirAll(filepath.Join(dir, version), 0o700), os.WriteFile(filepath.Join(dir, version, "secret"), []byte(content), 0o600),
			os.Symlink(version, filepath.Join(dir, "next")), os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "now")),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	hold("v1", "one")
	f := File{Setting: "NATS_CREDS", Paths: []string{path}, Check: func(b []byte) error {
		if len(b) == 0 {
			return errors.New("is empty")
		}
		return nil
	}}
	first, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	k := Keep(f, first, slog.New(slog.NewTextHandler(&said, nil)))
	for i, c := range []struct {
		change func()
		want   string
		says   int
	}{
		{func() {}, "one", 0},
		{func() { hold("v2", "two") }, "two", 0},
		{func() { hold("v3", "") }, "two", 1},
		{func() {}, "two", 1},
		{func() { _ = os.Remove(path) }, "two", 1},
		{func() { hold("v4", "four") }, "four", 1},
		{func() { _ = os.Remove(path) }, "four", 2},
	} {
		c.change()
		if got := string(k.Now()); got != c.want || strings.Count(said.String(), "NATS_CREDS: ") != c.says {
			t.Errorf("%d: %q, want %q; said %s", i, got, c.want, said.String())
		}
	}
	if !strings.Contains(said.String(), "NATS_CREDS: "+path+": is empty") || strings.Contains(said.String(), "two") {
		t.Errorf("said %s", said.String())
	}
}

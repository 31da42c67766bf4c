package reread

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
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

// TestOddFiles: what cannot be a secret is refused with a reason, and at once. A pipe would
// have stopped all sessions until somebody writes into it.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("good", "s3cret\r\n"): "",
		pipe:                        pipe + ": is not a regular file",
		dir:                         dir + ": is not a regular file",
		write("large", strings.Repeat("s", 1<<20+1)): "large: has more than 1048576 bytes",
		write("empty", "\n"):                         "empty: is empty",
		write("nul", "s3cret\x00x"):                  "nul: holds a NUL",
		write("two", "s3cret\ns3cret"):               "two: has several lines, must have one",
		filepath.Join(dir, "missing"):                "no such file",
	} {
		content, err := File{Setting: "SMTP_PASSWORD_FILE", Paths: []string{path}, Check: IsSecret}.Read()
		switch {
		case want == "" && (err != nil || Secret(content) != "s3cret"):
			t.Errorf("%s: %q, %v", path, content, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "SMTP_PASSWORD_FILE: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestHangs: a file system that does not answer costs five seconds once. What was read
// before is used, and the file is read again as soon as that is possible.
func TestHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
			t.Fatal(err)
		}
		answer := make(chan struct{})
		f := File{Setting: "SMTP_PASSWORD_FILE", Paths: []string{path}, Check: func([]byte) error { <-answer; return nil }}
		var said bytes.Buffer
		k := Keep(f, []byte("one"), slog.New(slog.NewTextHandler(&said, nil)))
		for _, want := range []time.Duration{readFor, 0, 0} {
			began := time.Now()
			if got := string(k.Now()); got != "one" || time.Since(began) != want {
				t.Errorf("%q after %s, want %s", got, time.Since(began), want)
			}
		}
		if strings.Count(said.String(), "SMTP_PASSWORD_FILE: "+path+": the file system did not answer within 5s") != 1 {
			t.Errorf("said %s", said.String())
		}
		close(answer)
		synctest.Wait()
		if got := string(k.Now()); got != "two" {
			t.Errorf("%q at last", got)
		}
	})
}

package testrun_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

func TestMain(m *testing.M) { os.Exit(testrun.Tests{M: m, AtOnce: 2}.Run()) }

// TestAbort: of tests that run out of time, or get a signal, nothing is left.
func TestAbort(t *testing.T) {
	for name, c := range map[string]struct {
		timeout string
		sig     os.Signal
		says    string
	}{
		"timeout": {"2s", nil, "test timed out"},
		"SIGINT":  {"1m", os.Interrupt, "interrupt: what the tests had started is ended"},
		"SIGTERM": {"1m", syscall.SIGTERM, "terminated: what the tests had started is ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready, mark := filepath.Join(t.TempDir(), "ready"), filepath.Join(t.TempDir(), "mark")
			var out bytes.Buffer
			run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTakesTooLong$", "-test.timeout="+c.timeout)
			run.Env = append(os.Environ(), "POSTRIDER_TEST_READY="+ready, "POSTRIDER_TEST_MARK="+mark)
			run.Stdout, run.Stderr = &out, &out
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			if c.sig != nil {
				testrun.Eventually(t, "it runs", time.Minute, func() bool { _, err := os.Stat(ready); return err == nil })
				if err := run.Process.Signal(c.sig); err != nil {
					t.Fatal(err)
				}
			}
			if err := run.Wait(); err == nil || !strings.Contains(out.String(), c.says) {
				t.Fatalf("%v: it does not say %q:\n%s", err, c.says, &out)
			}
			b, err := os.ReadFile(mark)
			if err != nil {
				t.Fatalf("nothing was ended: %v\n%s", err, &out)
			}
			if _, err := os.Stat(string(b)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", b, err)
			}
		})
	}
}

// TestTakesTooLong is run by TestAbort.
func TestTakesTooLong(t *testing.T) {
	mark := os.Getenv("POSTRIDER_TEST_MARK")
	if mark == "" {
		t.Skip("only where it is to run out of time")
	}
	dir := t.TempDir()
	testrun.OnAbort(func() { _ = os.WriteFile(mark, []byte(dir), 0o600) })
	done := testrun.OnAbort(func() { os.Remove(mark) })
	done()
	if err := os.WriteFile(os.Getenv("POSTRIDER_TEST_READY"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Minute)
}

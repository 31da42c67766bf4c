package testrun_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

func TestMain(m *testing.M) { os.Exit(testrun.Tests{M: m, AtOnce: 2}.Run()) }

// TestTimeout: of tests that run out of time nothing is left.
func TestTimeout(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTakesTooLong$", "-test.timeout=2s")
	run.Env = append(os.Environ(), "POSTRIDER_TEST_MARK="+mark)
	out, err := run.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "test timed out") {
		t.Fatalf("it did not run out of time: %v\n%s", err, out)
	}
	b, err := os.ReadFile(mark)
	if err != nil {
		t.Fatalf("nothing was ended: %v\n%s", err, out)
	}
	if _, err := os.Stat(string(b)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", b, err)
	}
}

// TestTakesTooLong is run by TestTimeout.
func TestTakesTooLong(t *testing.T) {
	mark := os.Getenv("POSTRIDER_TEST_MARK")
	if mark == "" {
		t.Skip("only where it is to run out of time")
	}
	dir := t.TempDir()
	testrun.OnTimeout(func() { _ = os.WriteFile(mark, []byte(dir), 0o600) })
	done := testrun.OnTimeout(func() { os.Remove(mark) })
	done()
	<-time.After(time.Minute)
}

package testrun_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

func TestEventually(t *testing.T) {
	t.Parallel()
	looks := 0
	testrun.Eventually(t, "the third look", time.Minute, func() bool { looks++; return looks == 3 }, func() string {
		t.Error("the state is asked for")
		return ""
	})
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWaitsInVain$")
	run.Env = append(os.Environ(), "POSTRIDER_TEST_VAIN=1")
	out, err := run.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in vain for 20ms: the moon\n") || !strings.Contains(string(out), "it is new") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestWaitsInVain is run by TestEventually.
func TestWaitsInVain(t *testing.T) {
	if os.Getenv("POSTRIDER_TEST_VAIN") == "" {
		t.Skip("only where it is to fail")
	}
	testrun.Eventually(t, "the moon", 20*time.Millisecond, func() bool { return false }, func() string { return "it is new" })
}

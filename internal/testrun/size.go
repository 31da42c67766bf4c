// Package testrun is what the tests of all packages share: the size they run at,
// how they wait, and how they end.
package testrun

import (
	"os"
	"testing"
)

// Full reports that tests are to run at their full size, as .ci/full does.
func Full() bool { return os.Getenv("POSTRIDER_TEST_FULL") != "" }

// Pick is the size to run with.
func Pick[T any](short, long T) T {
	if Full() {
		return long
	}
	return short
}

// Beside lets a test of programs run beside others. At its full size it has the
// machine for itself, for it measures.
func Beside(t *testing.T) {
	t.Helper()
	if !Full() {
		t.Parallel()
	}
}

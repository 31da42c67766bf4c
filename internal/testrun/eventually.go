package testrun

import (
	"testing"
	"time"
)

// The looks of [Eventually] follow each other closely at first: most of what tests
// wait for is there after some milliseconds.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// Eventually waits until cond holds. If it does not in that time, the test fails
// with what was waited for and, if state is given, with what it says.
func Eventually(t testing.TB, what string, within time.Duration, cond func() bool, state ...func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for pause := firstPause; !cond(); pause = min(2*pause, lastPause) {
		if time.Now().After(deadline) {
			for _, say := range state {
				what += "\n" + say()
			}
			t.Fatalf("in vain for %s: %s", within, what)
		}
		time.Sleep(pause)
	}
}

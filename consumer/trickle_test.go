package consumer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTrickle: one at a time, at once after one that made room, and after ever
// longer pauses while none does.
func TestTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrickle()
		begin := time.Now()
		wait := func(after time.Duration) {
			t.Helper()
			if err := tr.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begin); got != after {
				t.Errorf("in after %s, want %s", got, after)
			}
			begin = time.Now()
		}
		wait(0)
		busy, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if tr.enter(busy) == nil {
			t.Fatal("two at a time")
		}
		begin = time.Now()
		tr.leave(t.Context(), true)
		for _, pause := range []int{0, 1, 2, 4, 8, 16, 32, 60, 60} {
			wait(time.Duration(pause) * time.Second)
			go tr.leave(t.Context(), false)
			synctest.Wait()
		}
		wait(time.Minute)
		go tr.leave(t.Context(), true)
		wait(0)
		go tr.leave(t.Context(), false)
		synctest.Wait()
		wait(time.Second)
	})
}

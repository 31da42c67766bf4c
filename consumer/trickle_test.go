package consumer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// narrowRoom has left bytes left, of so many that fresh mail goes one at a time.
func narrowRoom(left uint64) *room {
	r := newRoom(nil)
	r.set(4*left, 5*left)
	return r
}

// mustEnter checks how long it takes.
func mustEnter(t *testing.T, tr *trickle, alone bool, after time.Duration) {
	t.Helper()
	begin := time.Now()
	if got, err := tr.enter(t.Context()); err != nil || got != alone {
		t.Fatalf("alone %v, %v", got, err)
	}
	if took := time.Since(begin); took != after {
		t.Errorf("in after %s, want %s", took, after)
	}
}

// TestTrickle: one at a time, at once after one that made room, and after a
// pause where it went on as a copy.
func TestTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrickle(narrowRoom(keptBytes*24*60*60/3), true) // three seconds each
		mustEnter(t, tr, true, 0)
		busy, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := tr.enter(busy); err == nil {
			t.Fatal("two at a time")
		}
		tr.leave(t.Context(), false)
		mustEnter(t, tr, true, 0)
		for range 3 {
			go tr.leave(t.Context(), true)
			mustEnter(t, tr, true, 3*time.Second)
		}
		tr.leave(t.Context(), false)
		if alone, _ := newTrickle(tr.room, false).enter(t.Context()); alone {
			t.Error("due mail goes one at a time as well")
		}
	})
}

// TestTrickleEnds: with room again who waits for his turn, and who rests, goes
// on at once.
func TestTrickleEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrickle(narrowRoom(1<<10), true)
		mustEnter(t, tr, true, 0)
		resting := make(chan time.Duration)
		go func() {
			begin := time.Now()
			tr.leave(t.Context(), true)
			resting <- time.Since(begin)
		}()
		time.AfterFunc(10*time.Second, func() { tr.room.set(1, 100) })
		for range 3 {
			begin := time.Now()
			alone, err := tr.enter(t.Context())
			if took := time.Since(begin); err != nil || alone || took > 10*time.Second {
				t.Errorf("alone %v after %s, %v", alone, took, err)
			}
		}
		if took := <-resting; took != 10*time.Second {
			t.Errorf("rested for %s", took)
		}
		tr.room.set(80, 100)
		mustEnter(t, tr, true, 0)
	})
}

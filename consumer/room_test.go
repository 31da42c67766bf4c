package consumer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRoomIsTold: what is fetched one at a time follows the measure, is said once
// for each change, and holds while the broker does not answer.
func TestRoomIsTold(t *testing.T) {
	t.Parallel()
	var used, limit uint64
	var away error
	r := newRoom(func(context.Context) (uint64, uint64, error) { return used, limit, away })
	for _, c := range []struct {
		used, limit uint64
		away        error
		fresh, due  bool
		says        string
	}{
		{74, 100, nil, false, false, ""},
		{75, 100, nil, true, false, "fresh mail is fetched one at a time"},
		{89, 100, nil, true, false, ""},
		{0, 0, errors.New("away"), true, false, ""},
		{90, 100, nil, true, true, "all mail is fetched one at a time"},
		{101, 100, nil, true, true, ""},
		{80, 100, nil, true, false, "due mail goes on"},
		{10, 100, nil, false, false, "has room again"},
		{95, 100, nil, true, true, "all mail is fetched one at a time"},
		{95, 0, nil, false, false, "has room again"}, // the limit was taken away
		{1, 0, nil, false, false, ""},
	} {
		freshBefore, turned := r.narrow(true)
		dueBefore, _ := r.narrow(false)
		var said bytes.Buffer
		used, limit, away = c.used, c.limit, c.away
		r.measure(t.Context(), slog.New(slog.NewTextHandler(&said, nil)))
		fresh, _ := r.narrow(true)
		due, _ := r.narrow(false)
		if fresh != c.fresh || due != c.due {
			t.Errorf("%d of %d: fresh mail one at a time %v, due mail %v", c.used, c.limit, fresh, due)
		}
		if c.says == "" && said.Len() > 0 || !strings.Contains(said.String(), c.says) {
			t.Errorf("%d of %d: says %q, want %q", c.used, c.limit, said.String(), c.says)
		}
		select {
		case <-turned:
			if fresh == freshBefore && due == dueBefore {
				t.Errorf("%d of %d: told of a change that is none", c.used, c.limit)
			}
		default:
			if fresh != freshBefore || due != dueBefore {
				t.Errorf("%d of %d: who waits is not told", c.used, c.limit)
			}
		}
	}
}

// TestRoomLastsForADay: messages that each leave keptBytes behind, with the
// pauses between them, take a day at least to fill what is left.
func TestRoomLastsForADay(t *testing.T) {
	t.Parallel()
	r := newRoom(nil)
	for _, left := range []uint64{32 << 20, 256 << 20, 25 << 30} {
		used := 3 * left
		var took time.Duration
		const at = 256 // messages at a time
		for stored := uint64(0); stored < left/2; stored += at * keptBytes {
			r.set(used+stored, used+left)
			took += at * r.pause()
		}
		if took < roomLasts/2 || took > roomLasts {
			t.Errorf("%d bytes left: half of it lasts %s", left, took)
		}
	}
	for _, used := range []uint64{999, 1000, 1001} {
		if r.set(used, 1000); r.pause() != pauseMost {
			t.Errorf("%d of 1000 stored: pause %s", used, r.pause())
		}
	}
}

// narrowRoom has left bytes left, of so many that fresh mail goes one at a time.
func narrowRoom(left uint64) *room {
	r := newRoom(nil)
	r.set(4*left, 5*left)
	return r
}

// TestRest: a pause after each message that made no room, as long as there is none.
func TestRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := narrowRoom(keptBytes * 24 * 60 * 60 / 3) // three seconds each
		for _, c := range []struct {
			fresh bool
			takes time.Duration
		}{{true, 3 * time.Second}, {true, 3 * time.Second}, {false, 0}} {
			begin := time.Now()
			r.rest(t.Context(), c.fresh)
			if took := time.Since(begin); took != c.takes {
				t.Errorf("fresh %v: rested for %s, want %s", c.fresh, took, c.takes)
			}
		}
		r = narrowRoom(1 << 10)
		time.AfterFunc(10*time.Second, func() { r.set(1, 100) })
		begin := time.Now()
		r.rest(t.Context(), true)
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("there was room after 10 s, rested for %s", took)
		}
	})
}

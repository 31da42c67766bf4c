package consumer

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/wire"
)

// TestRoomLastsForADay: messages that each leave keptBytes behind, with the pauses
// between them, take a day at least to fill what is left.
func TestRoomLastsForADay(t *testing.T) {
	t.Parallel()
	for _, left := range []uint64{32 << 20, 256 << 20, 25 << 30} {
		var took time.Duration
		const at = 256 // messages at a time
		for stored := uint64(0); stored < left/2; stored += at * keptBytes {
			took += at * pause(left-stored)
		}
		if took < roomLasts/2 || took > roomLasts {
			t.Errorf("%d bytes left: half of it lasts %s", left, took)
		}
	}
	for _, left := range []uint64{0, 1} {
		if pause(left) != pauseMost {
			t.Errorf("%d bytes left: pause %s", left, pause(left))
		}
	}
}

// roomStub has so many bytes left that fresh mail goes one at a time, until there is
// room.
type roomStub struct {
	left   uint64
	mu     sync.Mutex
	turned chan struct{} // nil once there is room
}

func (r *roomStub) Left() uint64        { return r.left }
func (*roomStub) Watch(context.Context) {}
func (r *roomStub) Narrow(fresh bool) (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fresh && r.turned != nil, r.turned
}

func (r *roomStub) grow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.turned)
	r.turned = nil
}

func resting(r Room, fresh bool) *fetcher {
	return &fetcher{Consumer: &Consumer{Parts: Parts{Room: r}}, Source: wire.Source{Fresh: fresh}}
}

// TestRest: a pause after each message that made no room, as long as there is none.
func TestRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &roomStub{left: keptBytes * 24 * 60 * 60 / 3, turned: make(chan struct{})} // three seconds each
		for _, c := range []struct {
			fresh bool
			takes time.Duration
		}{{true, 3 * time.Second}, {true, 3 * time.Second}, {false, 0}} {
			begin := time.Now()
			resting(r, c.fresh).rest(t.Context())
			if took := time.Since(begin); took != c.takes {
				t.Errorf("fresh %v: rested for %s, want %s", c.fresh, took, c.takes)
			}
		}
		r = &roomStub{left: 1 << 10, turned: make(chan struct{})}
		time.AfterFunc(10*time.Second, r.grow)
		begin := time.Now()
		resting(r, true).rest(t.Context())
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("there was room after 10 s, rested for %s", took)
		}
	})
}

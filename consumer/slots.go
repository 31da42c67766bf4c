package consumer

import (
	"context"
	"sync"

	"github.com/postrider/postrider/wire"
)

// slots are the places for messages that are worked on at once. A free one
// goes to the waiting lane that uses least of its weight, so a busy lane gets
// its share at once and what a lane does not use the others do.
type slots struct {
	mu    sync.Mutex
	free  int
	lanes []*share
}

type share struct {
	lane    wire.Lane
	weight  int
	used    int
	waiting []chan struct{}
}

func newSlots(n int, lanes Lanes) *slots {
	s := &slots{free: n}
	for _, w := range lanes {
		s.lanes = append(s.lanes, &share{lane: w.Lane, weight: w.Weight})
	}
	return s
}

func (s *slots) share(l wire.Lane) *share {
	for _, x := range s.lanes {
		if x.lane == l {
			return x
		}
	}
	panic("consumer: no such lane: " + string(l))
}

// acquire waits for a place; give it back with release.
func (s *slots) acquire(ctx context.Context, l wire.Lane) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	got := make(chan struct{})
	s.mu.Lock()
	x := s.share(l)
	x.waiting = append(x.waiting, got)
	s.grant()
	s.mu.Unlock()
	select {
	case <-got:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range x.waiting {
		if w == got {
			x.waiting = append(x.waiting[:i], x.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	// It came at the same moment: pass it on.
	x.used--
	s.free++
	s.grant()
	return ctx.Err()
}

func (s *slots) release(l wire.Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.share(l).used--
	s.free++
	s.grant()
}

// hand gives free places to those who wait. s.mu is held.
func (s *slots) grant() {
	for s.free > 0 {
		var best *share
		for _, x := range s.lanes {
			if len(x.waiting) > 0 && (best == nil || (x.used+1)*best.weight < (best.used+1)*x.weight) {
				best = x
			}
		}
		if best == nil {
			return
		}
		close(best.waiting[0])
		best.waiting = best.waiting[1:]
		best.used++
		s.free--
	}
}

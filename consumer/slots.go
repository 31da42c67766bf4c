package consumer

import (
	"context"
	"slices"
	"sync"

	"github.com/postrider/postrider/wire"
)

// slots bound what is in flight, in messages and in bytes. A free slot goes to the
// waiting lane that uses least of its weight: a busy lane gets its share at once,
// and what a lane does not use the others do.
type slots struct {
	all, maxBytes int
	lanes         []*share

	mu      sync.Mutex
	changed *sync.Cond
	free    int
	bytes   int // of all messages that arrived and are not settled
}

type share struct {
	lane                  wire.Lane
	weight, used, waiting int
}

func newSlots(n, maxBytes int, lanes wire.Lanes) *slots {
	s := &slots{all: n, free: n, maxBytes: maxBytes}
	s.changed = sync.NewCond(&s.mu)
	for _, w := range lanes {
		s.lanes = append(s.lanes, &share{lane: w.Lane, weight: w.Weight})
	}
	return s
}

func (s *slots) share(l wire.Lane) *share {
	return s.lanes[slices.IndexFunc(s.lanes, func(x *share) bool { return x.lane == l })]
}

// acquire waits for a slot. It must be given back with release.
func (s *slots) acquire(ctx context.Context, l wire.Lane) error {
	defer context.AfterFunc(ctx, func() { s.release(l, 0) })()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.share(l)
	x.waiting++
	defer func() {
		x.waiting--
		s.changed.Broadcast()
	}()
	for ctx.Err() == nil {
		// While too many bytes are in flight nothing begins, unless nothing is
		// worked on at all.
		if s.free > 0 && (s.bytes < s.maxBytes || s.free == s.all) && s.next() == x {
			s.free--
			x.used++
			return nil
		}
		s.changed.Wait()
	}
	return ctx.Err()
}

// next is the lane whose turn it is; nil if none waits. s.mu is held.
func (s *slots) next() (best *share) {
	for _, x := range s.lanes {
		if x.waiting > 0 && (best == nil || (x.used+1)*best.weight < (best.used+1)*x.weight) {
			best = x
		}
	}
	return best
}

// more takes up to n further slots if nobody waits for them.
func (s *slots) more(l wire.Lane, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next() != nil {
		return 0
	}
	n = min(max(n, 0), s.free)
	s.free -= n
	s.share(l).used += n
	return n
}

// release gives back n slots.
func (s *slots) release(l wire.Lane, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.share(l).used -= n
	s.changed.Broadcast()
}

// count adds the bytes of a message that arrived, or takes them off. It returns
// what may still arrive, at least 1.
func (s *slots) count(bytes int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += bytes
	s.changed.Broadcast()
	return max(s.maxBytes-s.bytes, 1)
}

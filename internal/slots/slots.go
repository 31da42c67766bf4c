// Package slots bounds what a worker has in flight: messages by their number, with a
// share for each lane, and all of them by their bytes.
package slots

import (
	"context"
	"slices"
	"sync"

	"github.com/postrider/postrider/wire"
)

// Slots bound what is in flight, in messages and in bytes. A free slot goes to the
// waiting lane that uses least of its weight. So a busy lane gets its share at once, and
// slots that a lane does not need go to the others.
type Slots struct {
	all, maxBytes int
	lanes         []*share // the slice is set once

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	free    int
	bytes   int // of all messages that arrived and are not settled, and reserved ones
}

// share is what a lane has of the slots.
type share struct {
	lane   wire.Lane // set once, as is weight
	weight int
	// used are its slots in use, waiting the goroutines that wait for one. Both are
	// guarded by Slots.mu.
	used, waiting int
}

// New has n slots for those lanes. The messages in them may have that many bytes.
func New(n, maxBytes int, lanes wire.Lanes) *Slots {
	s := &Slots{all: n, free: n, maxBytes: maxBytes}
	s.changed = sync.NewCond(&s.mu)
	for _, w := range lanes {
		s.lanes = append(s.lanes, &share{lane: w.Lane, weight: w.Weight})
	}
	return s
}

func (s *Slots) share(l wire.Lane) *share {
	return s.lanes[slices.IndexFunc(s.lanes, func(x *share) bool { return x.lane == l })]
}

// Acquire waits for a slot, and takes up to most of them if nobody else waits then. They
// must be given back with [Slots.Release].
func (s *Slots) Acquire(ctx context.Context, l wire.Lane, most int) (n int, err error) {
	defer context.AfterFunc(ctx, func() { s.Release(l, 0) })()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.share(l)
	x.waiting++
	for ctx.Err() == nil && !s.turnOf(x) {
		s.changed.Wait()
	}
	x.waiting--
	s.changed.Broadcast()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	n = 1
	if s.next() == nil {
		n = min(max(most, 1), s.free)
	}
	s.free -= n
	x.used += n
	return n, nil
}

// turnOf reports that x may have a slot. While too many bytes are in flight nothing
// begins, unless nothing is worked on at all. s.mu is held.
func (s *Slots) turnOf(x *share) bool {
	return s.free > 0 && (s.bytes < s.maxBytes || s.free == s.all) && s.next() == x
}

// next is the lane whose turn it is; nil if none waits. s.mu is held.
func (s *Slots) next() (best *share) {
	for _, x := range s.lanes {
		if x.waiting > 0 && (best == nil || (x.used+1)*best.weight < (best.used+1)*x.weight) {
			best = x
		}
	}
	return best
}

// Release gives back n slots.
func (s *Slots) Release(l wire.Lane, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.share(l).used -= n
	s.changed.Broadcast()
}

// AddBytes adds the bytes of a message that arrived, or takes them off.
func (s *Slots) AddBytes(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += n
	s.changed.Broadcast()
}

// Reserve adds the bytes that a batch may bring, at least 1, and returns their number:
// half of what is left, so that other lanes need not wait for the end of the batch.
func (s *Slots) Reserve() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max((s.maxBytes-s.bytes)/2, 1)
	s.bytes += n
	return n
}

// ReserveAll waits until n bytes may be added to those in flight, or until none are, and
// adds them.
func (s *Slots) ReserveAll(ctx context.Context, n int) error {
	defer context.AfterFunc(ctx, func() { s.AddBytes(0) })()
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil && s.bytes > 0 && s.bytes+n > s.maxBytes {
		s.changed.Wait()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.bytes += n
	return nil
}

// Small is the size up to which a message needs no reservation.
func (s *Slots) Small() int { return max(s.maxBytes/32, 1) }

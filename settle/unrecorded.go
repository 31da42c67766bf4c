package settle

import (
	"context"
	"sync"
	"time"
)

// unrecordedMost is how many messages of a process may have been accepted by a relay and not
// be recorded: so many would be sent again if it were killed.
const unrecordedMost = 64

// unrecorded counts those messages.
type unrecorded struct {
	mu    sync.Mutex // guards what follows
	n     int
	fewer chan struct{} // closed when there is room again; nil while there is
}

func (u *unrecorded) add(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n += n
	switch {
	case u.n >= unrecordedMost && u.fewer == nil:
		u.fewer = make(chan struct{})
	case u.n < unrecordedMost && u.fewer != nil:
		close(u.fewer)
		u.fewer = nil
	}
}

// full returns what is closed when there is room for another message; nil if there is.
func (u *unrecorded) full() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.fewer
}

// accepted notes that the relay has accepted d, or a part of it, which is not recorded.
func (u *unrecorded) accepted(d *Delivery) {
	if d.accepted.IsZero() {
		d.accepted = time.Now()
		u.add(1)
	}
}

// recorded notes that it is, or that this delivery records nothing more. It returns how long
// that took, 0 if nothing was accepted.
func (u *unrecorded) recorded(d *Delivery) (took time.Duration) {
	if !d.accepted.IsZero() {
		took, d.accepted = time.Since(d.accepted), time.Time{}
		u.add(-1)
	}
	return took
}

// permit keeps the final dot from being sent once the lease has expired. It waits while too
// many messages are accepted and not recorded.
func (s *Settler) permit(ctx context.Context, d *Delivery) error {
	for {
		fewer := s.unrecorded.full()
		switch {
		case d.leaseExpired():
			return errLeaseExpired
		case fewer == nil || !d.accepted.IsZero(): // it counts already
			return nil
		}
		again := time.NewTimer(time.Second)
		select {
		case <-fewer:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		}
		again.Stop()
	}
}

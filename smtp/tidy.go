package smtp

import (
	"context"
	"time"
)

// janitor closes sessions that nobody has used for a while.
func (r *Relay) janitor() {
	tick := time.NewTicker(max(r.cfg.SessionIdle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.dismiss(r.pool.evict(func(s *session) bool {
				return time.Since(s.idleSince) >= r.cfg.SessionIdle
			})...)
		case <-r.tidy.Done():
			return
		}
	}
}

// isolate opens the circuit for e and begins to probe. The caller has a slot, so
// that Close waits for the probe too.
func (r *Relay) isolate(e *Error, begun time.Time) {
	if !r.circuit.open(e, begun) {
		return
	}
	r.pool.pause(true)
	r.dismiss(r.pool.evict(func(*session) bool { return true })...)
	r.tasks.Go(r.probe)
}

// probe opens a session now and then until one succeeds.
func (r *Relay) probe() {
	for r.circuit.wait(r.tidy) == nil {
		if _, err := r.pool.take(r.tidy, nil); err != nil {
			return
		}
		s, bad := r.knock()
		if bad == nil {
			r.pool.pause(false)
			r.circuit.ready()
			r.give(s)
			return
		}
		r.pool.drop()
		if r.tidy.Err() != nil {
			return
		}
		r.circuit.failed(bad)
	}
}

// Close quits the idle sessions, waits for the busy ones until ctx ends, and then
// cuts them off. Deliver, called afterwards or waiting for a session, answers that
// nothing was tried. The error is the cause of ctx if sessions had to be cut off.
func (r *Relay) Close(ctx context.Context) error {
	r.stopTidy()
	idle, first := r.pool.close()
	if first {
		r.dismiss(idle...)
	}
	var err error
	select {
	case <-r.pool.empty:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.end(errClosed)
	<-r.pool.empty
	r.tasks.Wait()
	r.unregister()
	return err
}

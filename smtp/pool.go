package smtp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

var (
	errClosed = errors.New("the sessions are being closed")
	errDown   = errors.New("the relay is at fault")
)

// crowdedFor is how long fewer sessions are used after the relay has refused one.
const crowdedFor = time.Minute

// pool hands out slots: the right to have one session. Idle sessions keep theirs.
// The session used last is used first, so that the others reach their age. Any
// goroutine may use a pool.
type pool struct {
	max int

	mu sync.Mutex
	// limit is max, or less while the relay wants fewer sessions.
	limit int
	raise *time.Timer
	// busy counts the slots in use: of sessions in a transaction, being opened or
	// being closed.
	busy int
	// open counts the established sessions, busy and idle, opening those that are
	// being opened.
	open    int
	opening int
	// heard is when the relay last accepted a session or did what a transaction asked for.
	heard   time.Time
	idle    []*session
	waiters []chan *session
	// paused: sessions that are given back are not kept.
	paused bool
	closed bool
	// closing is closed when the pool is, empty once no slot is in use any more.
	closing, empty chan struct{}
}

func newPool(most int) *pool {
	return &pool{max: most, limit: most, closing: make(chan struct{}), empty: make(chan struct{})}
}

// take waits for a slot, first come first served, until ctx ends or down is
// closed. The session is nil if one has to be opened.
func (p *pool) take(ctx context.Context, down <-chan struct{}) (*session, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	w := make(chan *session, 1)
	p.waiters = append(p.waiters, w)
	p.serve()
	p.mu.Unlock()

	select {
	case s := <-w:
		return s, nil
	default:
	}
	var err error
	select {
	case s := <-w:
		return s, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-down:
		err = errDown
	case <-p.closing:
		err = errClosed
	}
	if p.leave(w) {
		return nil, err
	}
	return <-w, nil // a slot came at the same moment and must not get lost
}

// leave removes a waiter from the queue; false if it has a slot by now.
func (p *pool) leave(w chan *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	return i >= 0
}

// serve gives slots to those who wait. The caller holds mu.
func (p *pool) serve() {
	for !p.closed && len(p.waiters) > 0 && (len(p.idle) > 0 || p.busy < p.limit) {
		var s *session
		if n := len(p.idle); n > 0 {
			s, p.idle = p.idle[n-1], p.idle[:n-1]
		}
		p.busy++
		p.waiters[0] <- s
		p.waiters = p.waiters[1:]
	}
	if p.closed && p.busy == 0 {
		close(p.empty)
	}
}

// keep puts a session back with its slot. It reports false if the session is not
// wanted any more and has to quit.
func (p *pool) keep(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused || p.closed {
		return false
	}
	s.pooled, s.idleSince = true, time.Now()
	p.busy--
	p.idle = append(p.idle, s)
	p.serve()
	return true
}

// drop gives a slot back.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	p.serve()
}

// begin counts a session that is being opened, begun one that was, ended one that
// was established.
func (p *pool) begin() { p.add(0, 1) }
func (p *pool) ended() { p.add(-1, 0) }
func (p *pool) begun(established bool) {
	if established {
		p.hear()
		p.add(1, -1)
	} else {
		p.add(0, -1)
	}
}

func (p *pool) add(open, opening int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open += open
	p.opening += opening
}

// hear notes that the relay did what it was asked for.
func (p *pool) hear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
}

// lower limits the pool, for a while, to the sessions of others than the caller: those
// that are established, unless the relay has not been heard in them since that time, and
// those that are being opened. It reports false if there are no others. raised is
// called with the limit when it is over.
func (p *pool) lower(own int, since time.Time, raised func(int)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	others := p.open - own
	if p.heard.Before(since) {
		others = 0
	}
	others += p.opening
	if others < 1 || p.closed {
		return false
	}
	p.limit = min(others, p.limit-own)
	if p.raise != nil {
		p.raise.Stop()
	}
	p.raise = time.AfterFunc(crowdedFor, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		raised(p.limit)
		p.limit = p.max
		p.serve()
	})
	return true
}

// evict takes the idle sessions that match out of the pool. Their slots stay in
// use until the caller drops them.
func (p *pool) evict(match func(*session) bool) []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*session
	p.idle = slices.DeleteFunc(p.idle, func(s *session) bool {
		if match(s) {
			out = append(out, s)
			return true
		}
		return false
	})
	p.busy += len(out)
	return out
}

// pause sets whether the pool keeps no sessions.
func (p *pool) pause(paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = paused
}

// close refuses everyone who asks or waits for a slot, and returns the idle
// sessions, whose slots the caller drops. It reports false if the pool was closed
// before.
func (p *pool) close() ([]*session, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	p.closed = true
	close(p.closing)
	if p.raise != nil {
		p.raise.Stop()
	}
	idle := p.idle
	p.idle = nil
	p.busy += len(idle)
	p.serve()
	return idle, true
}

func (p *pool) count() (busy, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy, len(p.idle)
}

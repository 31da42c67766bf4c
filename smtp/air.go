package smtp

import (
	"context"
	"slices"
	"time"
)

const (
	// stillAfter is how long a relay may take for a reply and have another message sent
	// behind it: that one would only wait.
	stillAfter = time.Second
	// patience is how long a message that was not sent to its end waits for the replies to
	// those before it.
	patience = 30 * time.Second
)

// flight is a delivery's place in a session. Several messages may be in the air on one
// session, that is, sent and not answered. The flights of a session take turns, in the
// order in which they came: one has the write turn, until the last byte of its message
// is out, and one the read turn, which ends with its last reply. Only the one with the
// write turn is behind others that wait for replies, so whatever it leaves unfinished
// concerns nobody but itself.
type flight struct {
	// served is closed when it has a place. Its session is nil then if one has to be
	// opened.
	served chan struct{}
	*session
	// alone: nothing else may be in the air on its session.
	alone bool
	// behind: something was in the air when it came.
	behind bool
	// turn is closed when it has the read turn.
	turn chan struct{}
	// due counts the replies to what it sent and has not read, once its last byte is out.
	// skip counts those before them that nobody waits for any more.
	due, skip int

	// What follows belongs to its delivery. ctx is that of the delivery.
	ctx context.Context
	// reads: it has the read turn. heard: it has had a reply. sent: the last byte of the
	// message is out. over: the outcomes are settled, or the session is lost.
	reads, heard, sent, over bool
}

func newFlight(ctx context.Context, alone bool) *flight {
	return &flight{ctx: ctx, served: make(chan struct{}), alone: alone, turn: make(chan struct{})}
}

// board puts a flight on a new session, which it has opened in its slot.
func (p *pool) board(f *flight, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.join(f, s)
}

// join gives a flight the write turn of a session. The caller holds mu.
func (p *pool) join(f *flight, s *session) {
	f.session, f.behind = s, len(s.flights) > 0
	s.writer, s.flights = f, append(s.flights, f)
	if !f.behind {
		close(f.turn)
	}
}

// share puts a flight on a session that others use, if one has room. The caller holds mu.
func (p *pool) share(f *flight) bool {
	if f.alone || p.paused {
		return false
	}
	i := slices.IndexFunc(p.shared, func(s *session) bool {
		return len(s.flights) < min(s.room, p.window.size) && !s.botched.Load() && time.Since(s.stirred) < stillAfter
	})
	if i < 0 {
		return false
	}
	s := p.shared[i]
	p.shared = slices.Delete(p.shared, i, i+1)
	p.join(f, s)
	return true
}

// pass ends the write turn of a flight: the last byte of its message is out, and so many
// replies to it are due.
func (p *pool) pass(f *flight, due int) {
	spent, room := f.spent(), f.mayHave()
	p.mu.Lock()
	defer p.mu.Unlock()
	f.due, f.room = due, room
	if !f.learns() {
		p.window.room = room
	}
	f.writer = nil
	if len(f.flights) == 1 {
		f.stirred = time.Now()
	}
	if !f.alone && !spent {
		p.shared = append(p.shared, f.session)
		p.serve()
	}
}

// land takes a flight out of the air. It reports true if it was the last one on its
// session: the session and the slot are the caller's then.
func (p *pool) land(f *flight) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := f.session
	s.stirred = time.Now()
	if s.writer == f {
		s.writer = nil
	}
	i := slices.Index(s.flights, f)
	s.flights = slices.Delete(s.flights, i, i+1)
	switch left := f.due + f.skip; {
	case i < len(s.flights):
		s.flights[i].skip += left
	case left > 0:
		s.botched.Store(true) // nobody is there to read them
	}
	if i == 0 && len(s.flights) > 0 {
		close(s.flights[0].turn)
	}
	if len(s.flights) == 0 || s.botched.Load() {
		p.shared = slices.DeleteFunc(p.shared, func(x *session) bool { return x == s })
	}
	p.serve()
	return len(s.flights) == 0
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// followed reports that others are behind a flight.
func (f *flight) followed() bool {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	return len(f.flights) > 1
}

// interrupt has the writes and reads of a flight fail, but no one else's.
func (p *pool) interrupt(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.writer == f {
		_ = f.conn.SetWriteDeadline(past)
	}
	if len(f.flights) > 0 && f.flights[0] == f {
		_ = f.conn.SetReadDeadline(past)
	}
}

// mayHave is how many messages may be in the air on a session of this relay. With
// PIPELINING one waits for the reply to its dot, and one for that to its DATA.
func (s *session) mayHave() int {
	switch {
	case !s.pipelines() || s.learns():
		return 1
	case s.proven && s.chunks():
		return widest
	}
	return 2
}

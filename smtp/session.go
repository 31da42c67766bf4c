package smtp

import (
	"context"
	"fmt"
	"time"
)

const (
	// probeAfter is how long a session may be idle and still be believed alive.
	probeAfter = 5 * time.Second
	// listenAfter is how long a session may be idle before it is listened to: relays
	// say why they close it.
	listenAfter = time.Second
	// resetTimeout is short: a session that does not answer RSET is replaced, at
	// no cost to the message.
	resetTimeout = 10 * time.Second
	// quitTimeout is short: nothing depends on the reply to QUIT.
	quitTimeout = 2 * time.Second
)

// session is a connection that is ready for MAIL. It belongs to one goroutine at a
// time, that of the delivery or of the relay that has its slot; the pool passes it
// on.
type session struct {
	*wire
	ext      extensions
	timeouts Timeouts
	metrics  *metrics
	quirks   *quirks
	// heard is called when the relay did what a transaction asked for.
	heard func()
	// credential is the relay's.
	credential *credential

	id     string
	opened time.Time
	// took is the time from dialing until it was ready.
	took time.Duration
	// used counts its transactions.
	used int
	// pooled: it has been in the pool, so the relay may have closed it.
	pooled    bool
	idleSince time.Time
	// user is the user name that AUTH accepted; empty without AUTH.
	user string
	// trusted: the relay has accepted our password, or a message.
	trusted bool

	// botched: the state of the dialogue is unknown. It can only be closed.
	botched bool
	// needsReset: a transaction was begun and not delivered.
	needsReset bool
}

// ready checks that the relay is still there and has no transaction open. RSET
// does both; after a delivered message it would only cost a round trip.
//
// What an idle relay has said meanwhile is no reply to the next command.
func (s *session) ready() error {
	if s.pooled && time.Since(s.idleSince) >= listenAfter {
		if err := s.listen(listenFor); err != nil {
			return err
		}
	}
	if !s.needsReset && (!s.pooled || time.Since(s.idleSince) < probeAfter) {
		return nil
	}
	r, err := s.ask("RSET", resetTimeout)
	if err != nil {
		return err
	}
	if !r.positive() {
		return fmt.Errorf("%w: it answered RSET with %s", errOutOfStep, sayReply(r.code, r.enhanced, r.text()))
	}
	s.needsReset = false
	return nil
}

// accepts notes that the relay accepted a message.
func (s *session) accepts() {
	if !s.trusted {
		s.trusted = true
		s.credential.needless.Store(true)
	}
}

// stranger reports that the relay offers AUTH, of which we make no use, and has accepted
// no message.
func (s *session) stranger() bool {
	return len(s.ext.auth) > 0 && !s.trusted && !s.credential.needless.Load()
}

// quit sends QUIT and closes (RFC 5321 section 4.1.1.10). The reply changes
// nothing: all mail was answered before. A botched session has nothing more to say.
func (s *session) quit(ctx context.Context) {
	defer s.metrics.perSession.Observe(float64(s.used))
	if s.botched {
		s.raw().Close()
		return
	}
	defer s.conn.Close()
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	s.abortive(false)
	_, _ = s.ask("QUIT", quitTimeout)
}

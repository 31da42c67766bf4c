package smtp

import (
	"context"
	"sync/atomic"
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

// session is a connection that is ready for MAIL. While messages are in the air on it,
// one goroutine at a time has its write turn, and one its read turn (air.go). Else it
// belongs to the goroutine that has its slot; the pool passes it on.
type session struct {
	*wire
	ext      extensions
	timeouts Timeouts
	metrics  *metrics
	quirks   *quirks
	pool     *pool
	// credential is the relay's.
	credential *credential
	// most is how many transactions it may have, until how long it may be used.
	most  int
	until time.Time

	id string
	// took is the time from dialing until it was ready.
	took time.Duration

	// used counts its transactions. Who has the write turn uses it, and what follows.
	used int
	// pooled: it has been in the pool, so the relay may have closed it.
	pooled    bool
	idleSince time.Time
	// proven: the relay has answered a BDAT, so it does not take content for commands.
	proven bool
	mark   mark
	// user is the user name that AUTH accepted; empty without AUTH.
	user string

	// trusted: the relay has accepted our password, or a message. Who has the read turn
	// uses it, and what follows.
	trusted bool
	// needsReset: a transaction was begun and not delivered.
	needsReset bool
	// dismissed: a reply asked for something else than this session.
	dismissed bool
	// end is why no reply can be read any more; nil while one can.
	end error

	// botched: it cannot be used for another message, only closed.
	botched atomic.Bool

	// The pool guards what follows. flights are the messages in the air, in the order of
	// their replies, and writer is the one that has the write turn.
	flights []*flight
	writer  *flight
	// stirred is when the first of them came to be the first.
	stirred time.Time
	// room is how many messages may be in the air, as far as the relay's extensions go.
	room int
}

// spent reports that it has reached its age or its number of transactions. The caller
// has the write turn.
func (s *session) spent() bool { return s.used >= s.most || !time.Now().Before(s.until) }

// chunks reports that messages may be sent with BDAT.
func (s *session) chunks() bool {
	return s.ext.chunking && s.mark.known.Load() != alike && !s.quirks.has(chunks)
}

// pipelines reports that commands may be sent together.
func (s *session) pipelines() bool { return s.ext.pipelining && !s.quirks.has(groups) }

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
	if s.botched.Load() {
		s.raw().Close()
		return
	}
	defer s.conn.Close()
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	s.abortive(false)
	_, _ = s.ask("QUIT", quitTimeout)
}

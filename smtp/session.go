package smtp

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/mail"
)

const (
	// probeAfter is how long a session may lie idle and still be believed alive.
	probeAfter = 5 * time.Second
	// resetTimeout is short: a session that does not answer RSET is replaced at
	// no cost.
	resetTimeout = 10 * time.Second
	// quitTimeout is all the courtesy there is for a session that is given up.
	quitTimeout = 2 * time.Second
)

// session is a connection that is ready for MAIL. It belongs to one goroutine
// at a time; the pool passes it on.
type session struct {
	*wire
	ext      extensions
	timeouts Timeouts
	metrics  *metrics

	id     string
	opened time.Time
	// took is the time from dialing until it was ready.
	took time.Duration
	// used counts its transactions.
	used int
	// pooled: it has been in the pool, so the relay may have closed it.
	pooled    bool
	idleSince time.Time
	// trusted: the relay has taken our password, or a message.
	trusted bool

	// botched: the dialogue is in a state we do not know. Only closing is left.
	botched bool
	// needsReset: a transaction was begun and not delivered.
	needsReset bool
}

// ready makes sure that the relay is still there and has no transaction open.
// RSET does both; after a delivered message it would only cost a round trip.
func (s *session) ready() error {
	if !s.needsReset && (!s.pooled || time.Since(s.idleSince) < probeAfter) {
		return nil
	}
	r, err := s.ask("RSET", resetTimeout)
	if err != nil {
		return err
	}
	if !r.positive() {
		return fmt.Errorf("%w: it answered RSET with %s", errOutOfStep, sayReply(r))
	}
	s.needsReset = false
	return nil
}

// quit takes leave and closes (RFC 5321 section 4.1.1.10). What the relay
// answers changes nothing.
func (s *session) quit(ctx context.Context) {
	defer s.close()
	if s.botched {
		return
	}
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	_, _ = s.ask("QUIT", quitTimeout)
}

func (s *session) close() {
	s.conn.Close()
	s.metrics.perSession.Observe(float64(s.used))
}

// timeout is how long the reply to a command may take.
func (t Timeouts) timeout(stage mail.Stage) time.Duration {
	switch stage {
	case mail.StageMail:
		return t.Mail
	case mail.StageRcpt:
		return t.Rcpt
	case mail.StageData:
		return t.Data
	}
	return t.Dot
}

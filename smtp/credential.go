package smtp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/mail"
)

// A refused password is refused again: accounts are locked and addresses banned
// for asking. It is said again after the first of these pauses, each next one is twice
// as long.
const (
	deniedMin = 15 * time.Minute
	deniedMax = 6 * time.Hour
)

// credential is what the relay said of our user name and password. Any goroutine may
// use it.
type credential struct {
	// current reads the password, which an operator may have changed.
	current func() mail.Secret
	// correct says what an operator does about them.
	correct string

	// turn is held by whoever opens a session while the password is not proven: ten
	// sessions at once would say a wrong one ten times.
	turn chan struct{}

	// needless: the relay accepted a message without AUTH.
	needless atomic.Bool

	mu     sync.Mutex
	proven bool
	// denied is the refusal, nil if the last AUTH was not refused; refused is the password
	// that was, and pause is for the next.
	denied  *Error
	refused mail.Secret
	pause   time.Duration
}

func newCredential(c Config) *credential {
	// Without a user name there is nothing to prove.
	return &credential{
		current: func() mail.Secret { return c.Password.Reread(c.PasswordFile) },
		correct: c.correct(),
		turn:    make(chan struct{}, 1), proven: c.Username == "", pause: deniedMin,
	}
}

// claim waits until a session may be opened, AUTH included. heard must be told how that
// went. The error is the refusal, the cause of ctx, or [errDown].
func (c *credential) claim(ctx context.Context, down <-chan struct{}) (heard func(*Error), err error) {
	password := c.current()
	note := func(e *Error) { c.heard(e, password) }
	if c.isProven() {
		return note, nil
	}
	select {
	case c.turn <- struct{}{}:
	case <-down:
		return nil, errDown
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	free := func() { <-c.turn }
	if e := c.refusal(); e != nil {
		free()
		return nil, e
	}
	if c.isProven() {
		free()
		return note, nil
	}
	return func(e *Error) { note(e); free() }, nil
}

func (c *credential) isProven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proven
}

// refusal is the refusal because of which AUTH must not be said now; or nil. Another
// password may be said at once.
func (c *credential) refusal() *Error {
	now := c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied == nil || now != c.refused || !time.Now().Before(c.denied.again) {
		return nil
	}
	return c.denied
}

// heard notes how opening a session with that password went.
func (c *credential) heard(e *Error, password mail.Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e == nil:
		c.proven, c.denied, c.pause = true, nil, deniedMin
	case e.Stage == mail.StageAuth && wantsCredentials(e.Code):
		c.proven, c.denied, c.refused = false, e, password
		e.again = time.Now().Add(c.pause)
		c.pause = min(2*c.pause, deniedMax)
	}
}

// knock opens a session for the probe. While the password must not be said it goes up
// to EHLO, to see whether the relay is there, and the error is the refusal.
func (r *Relay) knock() (*session, *Error) {
	heard, err := r.credential.claim(r.tidy, nil)
	if err == nil {
		return r.open(r.tidy, heard)
	}
	denied, ok := errors.AsType[*Error](err)
	if !ok {
		return nil, newError(mail.StageConnect, fine, "was left before the session was ready", "")
	}
	look := *r.dialer
	look.cfg.Username = ""
	s, bad := look.open(r.tidy)
	if bad != nil {
		return nil, bad
	}
	s.quit(r.tidy)
	return nil, denied
}

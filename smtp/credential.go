package smtp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/internal/reread"
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
	// that was, at that time, and pause is for the next.
	denied   *Error
	refused  mail.Secret
	deniedAt time.Time
	pause    time.Duration
}

func newCredential(c Config, log *slog.Logger) *credential {
	current := func() mail.Secret { return c.Password }
	if c.PasswordFile != "" {
		kept := reread.Keep(c.password(), []byte(c.Password), log)
		current = func() mail.Secret { return mail.Secret(reread.Secret(kept.Now())) }
	}
	// Without a user name there is nothing to prove.
	return &credential{
		current: current,
		correct: c.correct(),
		turn:    make(chan struct{}, 1), proven: c.Username == "", pause: deniedMin,
	}
}

// claim waits until a session may be opened, AUTH with that password included. heard must
// be told how that went. The error is the refusal, the cause of ctx, or [errDown].
func (c *credential) claim(ctx context.Context, down <-chan struct{}) (password mail.Secret, heard func(*Error), err error) {
	free, err := c.await(ctx, down)
	if err != nil {
		return "", nil, err
	}
	password, begun := c.current(), time.Now()
	if e := c.refusal(password); e != nil {
		free()
		return "", nil, e
	}
	return password, func(e *Error) { c.heard(e, password, begun); free() }, nil
}

// await waits for the turn, if the password is not proven. free gives it back.
func (c *credential) await(ctx context.Context, down <-chan struct{}) (free func(), err error) {
	if c.isProven() {
		return func() {}, nil
	}
	select {
	case c.turn <- struct{}{}:
	case <-down:
		return nil, errDown
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	free = func() { <-c.turn }
	if c.isProven() {
		free()
		return func() {}, nil
	}
	return free, nil
}

func (c *credential) isProven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proven
}

// refusal is the refusal because of which AUTH must not be said now with that password; or
// nil. Another one may be said at once.
func (c *credential) refusal(password mail.Secret) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied == nil || password != c.refused || !time.Now().Before(c.denied.again) {
		return nil
	}
	return c.denied
}

// heard notes how opening a session with that password went, which began at that time.
func (c *credential) heard(e *Error, password mail.Secret, begun time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e == nil:
		c.proven, c.denied, c.pause = true, nil, deniedMin
	case e.Stage != mail.StageAuth || !wantsCredentials(e.Code):
	case c.denied != nil && password == c.refused && begun.Before(c.deniedAt):
		e.again = c.denied.again // it was said at the same time
	default:
		if password != c.refused {
			c.pause = deniedMin
		}
		c.proven, c.denied, c.refused, c.deniedAt = false, e, password, time.Now()
		e.again = c.deniedAt.Add(c.pause)
		c.pause = min(2*c.pause, deniedMax)
	}
}

// retry lets a password that was refused be said again.
func (c *credential) retry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied, c.pause = nil, deniedMin
}

// knock opens a session for the probe. While the password must not be said it goes up
// to EHLO, to see whether the relay is there, and the error is the refusal.
func (r *Relay) knock() (*session, *Error) {
	password, heard, err := r.credential.claim(r.tidy, nil)
	if err == nil {
		return r.open(r.tidy, password, heard)
	}
	denied, ok := errors.AsType[*Error](err)
	if !ok {
		return nil, newError(mail.StageConnect, fine, "was left before the session was ready", "")
	}
	look := *r.dialer
	look.cfg.Username = ""
	s, bad := look.open(r.tidy, "")
	if bad != nil {
		return nil, bad
	}
	s.quit(r.tidy)
	return nil, denied
}

package smtp

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/check"
)

// circuit keeps mail from a relay that is at fault. It opens on a fault, and
// closes when a probe has opened a session up to and including AUTH. Any
// goroutine may use it.
type circuit struct {
	name     string
	log      *slog.Logger
	min, max time.Duration

	mu sync.Mutex
	// why is the fault that opened it; nil while it is closed.
	why      *Error
	openedAt time.Time
	closedAt time.Time
	// pause is the time to wait before the next probe. It grows until mail works
	// again: a relay that accepts sessions and refuses the mail is not asked
	// faster.
	pause time.Duration
	// up and down are closed while the circuit is in that state.
	up, down chan struct{}
}

func newCircuit(name string, log *slog.Logger, c Config) *circuit {
	up := make(chan struct{})
	close(up)
	return &circuit{name: name, log: log, min: c.PauseMin, max: c.PauseMax, pause: c.PauseMin, up: up, down: make(chan struct{})}
}

// state returns the fault that opened it, or nil, and the channels of both states.
func (c *circuit) state() (why *Error, up, down <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why, c.up, c.down
}

// open opens it for e, which was met by work that began at that time. It reports
// false if it is open already, or has been closed since.
func (c *circuit) open(e *Error, begun time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil || begun.Before(c.closedAt) {
		return false
	}
	c.why, c.openedAt, c.up = e, time.Now(), make(chan struct{})
	close(c.down)
	c.say(e)
	return true
}

// close closes it again.
func (c *circuit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why, c.closedAt, c.down = nil, time.Now(), make(chan struct{})
	close(c.up)
	c.log.Info(fmt.Sprintf("relay %s accepts sessions again: sending resumes", c.name),
		"relay", c.name, "after", c.closedAt.Sub(c.openedAt).Round(time.Millisecond))
}

// failed notes what a probe met. It is logged only if it is news.
func (c *circuit) failed(e *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Problem != c.why.Problem {
		c.say(e)
	}
	c.why = e
}

// worked notes that the relay accepted mail, so that the next pause is a short one.
func (c *circuit) worked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pause = c.min
}

// wait pauses before the next probe. The jitter keeps workers that lost a relay
// together from coming back together.
func (c *circuit) wait(ctx context.Context) error {
	c.mu.Lock()
	d := c.pause - time.Duration(rand.Float64()*0.25*float64(c.pause))
	c.pause = min(2*c.pause, c.max)
	c.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// say logs what happened and what to do, once. The caller holds mu.
func (c *circuit) say(e *Error) {
	level, state := slog.LevelWarn, "mail waits"
	if e.trouble == alarming {
		level, state = slog.LevelError, "mail waits until somebody fixes it"
	}
	every := "trying again every " + check.Duration(c.min)
	if c.max > c.min {
		every += " to " + check.Duration(c.max)
	}
	c.log.Log(context.Background(), level, fmt.Sprintf("%v: %s; %s; %s", e, state, e.Hint, every),
		"relay", c.name, "stage", string(e.Stage), "code", e.Code)
}

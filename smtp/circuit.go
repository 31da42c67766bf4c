package smtp

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// circuit keeps mail from a relay that is at fault. It opens on a fault, and
// closes when a probe has opened a session all the way through AUTH.
type circuit struct {
	name     string
	log      *slog.Logger
	min, max time.Duration

	mu sync.Mutex
	// why is the fault it is open for; nil while it is closed.
	why      *fault
	openedAt time.Time
	closedAt time.Time
	// pause is what the next probe waits. It grows until mail works again: a
	// relay that lets sessions in and refuses the mail is not asked faster.
	pause time.Duration
	// up and down are closed while the circuit is in that state.
	up, down chan struct{}
}

func newCircuit(name string, log *slog.Logger, c Config) *circuit {
	up := make(chan struct{})
	close(up)
	return &circuit{name: name, log: log, min: c.RelayPauseMin, max: c.RelayPauseMax, pause: c.RelayPauseMin, up: up, down: make(chan struct{})}
}

// state is the fault it is open for, or nil, and the channels of both states.
func (c *circuit) state() (why *fault, up, down <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why, c.up, c.down
}

// open opens it for f, which was met by something begun at that time. It
// reports false where it is open already, or has been mended since.
func (c *circuit) open(f *fault, begun time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil || begun.Before(c.closedAt) {
		return false
	}
	c.why, c.openedAt, c.up = f, time.Now(), make(chan struct{})
	close(c.down)
	c.say(f)
	return true
}

// close closes it again.
func (c *circuit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why, c.closedAt, c.down = nil, time.Now(), make(chan struct{})
	close(c.up)
	c.log.Info(fmt.Sprintf("relay %s takes sessions again: mail goes on", c.name),
		"relay", c.name, "after", c.closedAt.Sub(c.openedAt).Round(time.Millisecond))
}

// failed takes in what a probe met. It is said only where it is news.
func (c *circuit) failed(f *fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.what != c.why.what {
		c.say(f)
	}
	c.why = f
}

// worked: the relay took mail, so the next fault begins with a short pause.
func (c *circuit) worked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.pause = c.min
	}
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
func (c *circuit) say(f *fault) {
	level, state := slog.LevelWarn, "mail waits"
	if f.trouble == alarming {
		level, state = slog.LevelError, "mail waits until somebody mends it"
	}
	every := "trying again every " + short(c.min)
	if c.max > c.min {
		every += " to " + short(c.max)
	}
	c.log.Log(context.Background(), level, fmt.Sprintf("relay %s %v: %s; %s; %s", c.name, f, state, f.todo, every),
		"relay", c.name, "stage", string(f.stage), "code", f.reply.code)
}

// short writes 1m0s as 1m.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

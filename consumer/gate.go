package consumer

import (
	"context"
	"sync"
	"time"
)

// fullFor is how long nothing is taken after a write was refused for want of room.
const fullFor = 10 * time.Second

// gate says when messages may be taken.
type gate struct {
	relay interface {
		Wait(ctx context.Context) error
	}
	link Link

	// stopping is closed when the worker is told to stop.
	stopping <-chan struct{}

	mu    sync.Mutex
	until time.Time
}

// full closes the gate for a while; false where it was closed already.
func (g *gate) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	news := now.After(g.until)
	g.until = now.Add(fullFor)
	return news
}

// wait returns once messages may be taken: the relay is up, no write was refused
// lately for want of room, and the connection has settled down.
func (g *gate) wait(ctx context.Context) error {
	for {
		if err := g.relay.Wait(ctx); err != nil {
			return err
		}
		d := g.closedFor()
		if d <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

func (g *gate) closedFor() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.until), g.settling())
}

// settling is the time left after a reconnect in which nothing is begun.
func (g *gate) settling() time.Duration {
	last := g.link.LastReconnect()
	if last.IsZero() {
		return 0
	}
	return time.Until(last.Add(settleDown))
}

package consumer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// RoomForFresh and RoomForDue are the shares of the room at which less is taken:
// fresh mail waits first, for what is due and delivered makes room.
const (
	RoomForFresh = 0.75
	RoomForDue   = 0.90
)

// fullFor is how long nothing is taken after a write was refused for want of room.
const fullFor = 10 * time.Second

// gate says when messages may be taken.
type gate struct {
	relay interface {
		Wait(ctx context.Context) error
	}
	link Link
	room func(ctx context.Context) (used, limit uint64, err error)

	// stopping is closed when the worker is told to stop.
	stopping <-chan struct{}

	mu     sync.Mutex
	stored float64
	until  time.Time
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

// wait returns once messages may be taken: the relay is up, there is room, and
// the connection has settled down.
func (g *gate) wait(ctx context.Context, fresh bool) error {
	for {
		if err := g.relay.Wait(ctx); err != nil {
			return err
		}
		d := g.closedFor(fresh)
		if d <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

func (g *gate) closedFor(fresh bool) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := time.Until(g.until)
	if g.stored >= RoomForDue || fresh && g.stored >= RoomForFresh {
		d = max(d, time.Second)
	}
	return max(d, g.settling())
}

// settling is the time left after a reconnect in which nothing is begun.
func (g *gate) settling() time.Duration {
	last := g.link.LastReconnect()
	if last.IsZero() {
		return 0
	}
	return time.Until(last.Add(settleDown))
}

// watch keeps an eye on the room until ctx ends.
func (g *gate) watch(ctx context.Context, log *slog.Logger) {
	for warned := false; ; {
		if used, limit, err := g.room(ctx); err == nil && limit > 0 {
			stored := float64(used) / float64(limit)
			g.mu.Lock()
			g.stored = stored
			g.mu.Unlock()
			switch {
			case stored >= RoomForFresh && !warned:
				warned = true
				log.Warn("the broker's store is filling up: fresh mail waits until there is room, due mail goes on", "used_bytes", used, "limit_bytes", limit)
			case stored < RoomForFresh && warned:
				warned = false
				log.Info("the broker's store has room again", "used_bytes", used, "limit_bytes", limit)
			}
		}
		if sleep(ctx, 5*time.Second) != nil {
			return
		}
	}
}

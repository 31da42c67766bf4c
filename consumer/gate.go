package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/postrider/postrider/stream"
)

// fullFor is how long nothing is fetched after a write found no room.
const fullFor = 10 * time.Second

// Relay tells whether mail can be sent at all. Where each message goes is decided
// when it is settled.
type Relay interface {
	// Up reports whether the relay may be used.
	Up() bool
	// Wait returns once it may be.
	Wait(ctx context.Context) error
}

// Gate says when messages may be fetched: while the relay is up, the connection is
// stable and the store has room.
type Gate struct {
	Relay Relay
	Link  Link

	// until is when the gate opens. The goroutines that settle set it, guarded by mu.
	mu    sync.Mutex
	until time.Time
}

// Full closes the gate for ten seconds; false if it was closed already.
func (g *Gate) Full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	news := now.After(g.until)
	g.until = now.Add(fullFor)
	return news
}

// fullAfter reports whether a write has found no room after that time.
func (g *Gate) fullAfter(t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until.After(t.Add(fullFor))
}

// wait returns once messages may be fetched.
func (g *Gate) wait(ctx context.Context) error {
	for {
		if err := g.Relay.Wait(ctx); err != nil {
			return err
		}
		g.mu.Lock()
		closed := max(time.Until(g.until), g.quietFor())
		g.mu.Unlock()
		if closed <= 0 || !stream.Pause(ctx, closed) {
			return ctx.Err()
		}
	}
}

// quietFor is the time left after a reconnect in which nothing new is begun.
func (g *Gate) quietFor() time.Duration {
	if last := g.Link.LastReconnect(); !last.IsZero() {
		return time.Until(last.Add(settleDown))
	}
	return 0
}

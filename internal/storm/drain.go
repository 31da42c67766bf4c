package storm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// lane is the one that a [Producer] publishes to.
const lane wire.Lane = "normal"

// Queue is what the queue says in the end: who is dead-lettered, and when it was first
// recorded who is delivered.
type Queue struct {
	Dead     map[Key]bool
	Recorded map[Key]time.Time
}

// Drain waits until the queue at c is empty and reads its books. What is still queued after
// that time is an error: it is stranded.
func Drain(ctx context.Context, c *broker.Conn, within time.Duration) (*Queue, error) {
	for deadline := time.Now().Add(within); ; stream.Pause(ctx, 200*time.Millisecond) {
		left, err := queued(ctx, c)
		if err == nil && left == 0 {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("%d messages are left in the queue after %s", left, within), err, ctx.Err())
		}
	}
	dead, err := deadKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	recorded, err := recordedKeys(ctx, c)
	return &Queue{dead, recorded}, err
}

func recordedKeys(ctx context.Context, c *broker.Conn) (map[Key]time.Time, error) {
	recorded := make(map[Key]time.Time)
	for m, err := range c.Store().Scan(ctx, wire.StreamRecord, ">", stream.Range{}) {
		if err != nil {
			return nil, err
		}
		r, err := wire.DecodeRecord(m.Data)
		if err != nil {
			return nil, err
		}
		for _, x := range r.Recipients {
			k := Key{r.ID, x.Address}
			if _, before := recorded[k]; x.State == wire.StateDelivered && !before {
				recorded[k] = m.Time
			}
		}
	}
	return recorded, nil
}

// queued counts the mail of the lane, each stream by its name: a list of a cluster's
// streams leaves out those that have no leader just then.
func queued(ctx context.Context, c *broker.Conn) (uint64, error) {
	var n uint64
	for _, source := range lane.Sources() {
		s, err := c.JS().Stream(ctx, source.Stream)
		if err != nil {
			return 0, fmt.Errorf("read stream %s: %w", source.Stream, err)
		}
		n += s.CachedInfo().State.Msgs
	}
	return n, nil
}

func deadKeys(ctx context.Context, c *broker.Conn) (map[Key]bool, error) {
	store := c.Store()
	dead := make(map[Key]bool)
	for l, err := range deadletter.New(store, journal.New(store), c.Now).All(ctx, deadletter.Filter{}) {
		if err != nil {
			return nil, err
		}
		for _, r := range l.Recipients {
			dead[Key{l.Key.ID, r.Address}] = true
		}
	}
	return dead, nil
}

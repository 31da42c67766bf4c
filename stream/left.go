package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// quietFor is how long a reader waits before it asks whether what it waits for is still
	// there.
	quietFor = time.Second
	// onTheWay is longer than what was delivered last takes to arrive.
	onTheWay = 100 * time.Millisecond
)

// NextLeft is the next message of what is left for a consumer to read. It is nil without an
// error if nothing is: what was there when the consumer was made may be removed meanwhile,
// and a reader that waited for it would wait until ctx ends.
func NextLeft(ctx context.Context, c jetstream.Consumer, it jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		m, err := nextWithin(ctx, it, quietFor)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return m, err
		}
		info, err := c.Info(ctx)
		if err != nil || info.NumPending > 0 { // while it is made anew it has no answer
			continue
		}
		m, err = nextWithin(ctx, it, onTheWay)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil, nil
		}
		return m, err
	}
}

func nextWithin(ctx context.Context, it jetstream.MessagesContext, d time.Duration) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return it.Next(jetstream.NextContext(ctx))
}

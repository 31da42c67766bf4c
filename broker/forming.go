package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// formFor is how long a cluster may take to choose a leader and find its
// servers, once the first of them answers.
const formFor = time.Minute

// WhenFormed does what a start needs of the broker. Where the cluster has no
// leader yet for what is asked, or fewer servers than REPLICAS, it waits and does
// it again, for a minute. It returns the last error, and where ctx ended before
// that with its cause.
func (c *Conn) WhenFormed(ctx context.Context, do func() error) error {
	for began, reported := time.Now(), false; ; {
		err := do()
		if !forming(err) || time.Since(began) > formFor {
			return err
		}
		if !reported {
			reported = true
			c.log.Warn("waiting for the "+c.kind(), "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(dialPause):
		}
	}
}

// kind is what is at the other end, in a word.
func (c *Conn) kind() string {
	if c.nc.ConnectedClusterName() != "" {
		return "cluster"
	}
	return "broker"
}

// forming reports what a cluster says that is not complete. One that never will
// be says the same.
func forming(err error) bool {
	if errors.Is(err, ErrAway) || errors.Is(err, nats.ErrNoResponders) {
		return true
	}
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	return ok && int(refusal.ErrorCode) == codeNoPeers
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

// formFor is how long a cluster with a leader may take to find its servers, and
// a broker to answer at all.
const formFor = time.Minute

// WhenFormed calls do, which is what a start needs of the broker, until it
// succeeds or fails for good. A cluster that says it has no leader is waited for
// without a limit, as [Dial] waits for a broker. If there is no answer, or there
// are fewer servers than POSTRIDER_REPLICAS, it tries again for a minute. It returns the
// last error and, if ctx ended, its cause.
func (c *Conn) WhenFormed(ctx context.Context, do func() error) error {
	began, reported := time.Now(), time.Time{}
	for {
		err := do()
		if leaderless(err) {
			began = time.Now()
		}
		if !forming(err) || time.Since(began) > formFor {
			return err
		}
		if time.Since(reported) >= dialReport {
			reported = time.Now()
			c.log.Warn("waiting for the "+c.kind(), "error", err)
		}
		if !stream.Pause(ctx, dialPause) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// kind is what the connection leads to, in a word.
func (c *Conn) kind() string {
	if c.nc.ConnectedClusterName() != "" {
		return "cluster"
	}
	return "broker"
}

// leaderless reports the answer of a cluster that has too few servers for a
// leader.
func leaderless(err error) bool { return errors.Is(stream.Classify(err), stream.ErrNoLeader) }

// forming reports an answer, or a silence, of a cluster that is not complete. One
// that never will be says the same.
func forming(err error) bool {
	if leaderless(err) || errors.Is(err, stream.ErrAway) || errors.Is(err, nats.ErrNoResponders) {
		return true
	}
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	return ok && int(refusal.ErrorCode) == codeNoPeers
}

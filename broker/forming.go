package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/schema"
)

// formFor is how long a cluster may take to choose a leader and find its
// servers, once the first of them answers.
const formFor = time.Minute

// ProvisionWhenFormed is [Provision] at a start: where the cluster has no leader
// yet, or fewer servers than REPLICAS, it waits a minute for them. It returns
// the last error.
func ProvisionWhenFormed(ctx context.Context, c *Conn, lanes []schema.Lane, cfg Config) (warnings []string, err error) {
	for began, reported := time.Now(), false; ; {
		warnings, err = Provision(ctx, c, lanes, cfg)
		if !forming(err) || time.Since(began) > formFor {
			return warnings, err
		}
		if !reported {
			reported = true
			c.log.Warn("waiting for the cluster", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(dialPause):
		}
	}
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

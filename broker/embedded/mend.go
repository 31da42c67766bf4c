package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/stream"
)

// reopen closes the store and opens it again, as a restart does. All streams are
// open when it returns nil.
func (e *Server) reopen(ctx context.Context) error {
	if err := e.closeStore(ctx); err != nil {
		return err
	}
	err := e.server.EnableJetStream(&server.JetStreamConfig{StoreDir: e.cfg.DataDir, MaxStore: unlimited, SyncAlways: true})
	if err != nil {
		return err
	}
	if !e.server.JetStreamConfig().SyncAlways {
		return fmt.Errorf("%w: its writes are not synced any more", ErrBroken)
	}
	if err := e.ready(ctx); err != nil {
		return err
	}
	return e.health(e.look(), true)
}

// closedEvery is how often the store is asked whether it is closed.
const closedEvery = 100 * time.Millisecond

// closeStore returns when the store is closed. The server may be closing it
// already, by itself, for want of room: opened beside that, its files would have
// two writers.
func (e *Server) closeStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%w: it does not close", ErrBroken))
	defer cancel()
	closed := make(chan error, 1)
	go func() {
		err := e.server.DisableJetStream()
		for err == nil && e.server.JetStreamConfig() != nil && stream.Pause(ctx, closedEvery) {
		}
		closed <- err
	}()
	select {
	case err := <-closed:
		if err == nil {
			err = context.Cause(ctx) // it may have ended before the store was closed
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refuse ends the acknowledgements: producers reach no lane any more, and are told
// that nobody listens. Workers go on to read and to write.
func (e *Server) refuse() error {
	opts, err := e.options(nil)
	if err != nil {
		return err
	}
	if err := e.server.ReloadOptions(opts); err != nil {
		return fmt.Errorf("refuse producers: %w", err)
	}
	// The reload has taken the account's limit away.
	return e.setLimit()
}

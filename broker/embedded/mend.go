package embedded

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/stream"
)

const (
	watchEvery = 2 * time.Second
	// hangFor is how long the store may take to say how it is. A server under load
	// answers within milliseconds.
	hangFor = 30 * time.Second
	// roomToMend is the free space from which on the store is opened again. With
	// less the next mail might fill the disk once more.
	roomToMend = 2 * maxPayload
)

// ErrHangs: the store does not answer any more, and only a new process can open it
// again. What was acknowledged is on the disk.
var ErrHangs = errors.New("the store of the embedded broker hangs")

// Watch checks the store until ctx ends. After the disk was full the server's
// writes fail also when there is room again. Then Watch closes the store and
// opens it from what is on the disk. Clients stay connected. It fails with
// [ErrHangs], once there is room for a new process to do better.
func (e *Server) Watch(ctx context.Context) error {
	for bad := false; stream.Pause(ctx, watchEvery); {
		err := e.Healthy()
		if err == nil {
			if bad {
				e.log.Info("the embedded broker stores mail again", "dir", e.cfg.DataDir)
			}
			bad = false
			continue
		}
		hangs := errors.Is(err, ErrHangs)
		if !bad {
			e.log.Error("the embedded broker cannot store mail: nothing is taken until there is room, then "+remedy(hangs), "error", err)
		}
		bad = true
		if !e.roomToMend() {
			continue
		}
		if hangs {
			return err
		}
		if err := e.reopen(ctx); err != nil {
			e.log.Error("open the store again", "dir", e.cfg.DataDir, "error", err)
		}
	}
	return nil
}

// remedy is what happens when there is room again.
func remedy(hangs bool) string {
	if hangs {
		return "the worker ends, to be started again"
	}
	return "the worker goes on by itself"
}

// roomToMend reports that the disk has room for the store to be opened again.
func (e *Server) roomToMend() bool {
	free, err := broker.FreeBytes(e.cfg.DataDir)
	return err == nil && free >= roomToMend
}

// reopen closes the store and opens it again, as a restart does.
func (e *Server) reopen(ctx context.Context) error {
	if err := e.server.DisableJetStream(); err != nil {
		return err
	}
	err := e.server.EnableJetStream(&server.JetStreamConfig{StoreDir: e.cfg.DataDir, MaxStore: unlimited, SyncAlways: e.synced()})
	if err != nil {
		return err
	}
	if e.server.JetStreamConfig().SyncAlways != e.synced() {
		return errors.New("its writes are not synced any more: restart the worker")
	}
	return e.ready(ctx)
}

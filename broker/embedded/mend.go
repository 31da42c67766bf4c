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
	// roomToMend is the free space from which on the store is opened again. With
	// less the next mail might fill the disk once more.
	roomToMend = 2 * maxPayload
)

// Watch checks the store until ctx ends. After the disk was full the server's
// writes fail also when there is room again. Then Watch closes the store and
// opens it from what is on the disk. Clients stay connected.
func (e *Server) Watch(ctx context.Context) {
	for bad := false; stream.Pause(ctx, watchEvery); {
		err := e.Healthy()
		if err == nil {
			if bad {
				e.log.Info("the embedded broker stores mail again", "dir", e.cfg.DataDir)
			}
			bad = false
			continue
		}
		if !bad {
			e.log.Error("the embedded broker cannot store mail: nothing is taken until there is room, then the worker goes on by itself", "error", err)
		}
		bad = true
		if free, ferr := broker.FreeBytes(e.cfg.DataDir); ferr != nil || free < roomToMend {
			continue
		}
		if err := e.reopen(ctx); err != nil {
			e.log.Error("open the store again", "dir", e.cfg.DataDir, "error", err)
		}
	}
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

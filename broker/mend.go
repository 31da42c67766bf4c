package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	watchEvery = 2 * time.Second
	// roomToMend is the least free space at which the store is opened again:
	// below it the next mail might fill the disk once more.
	roomToMend = 2 * maxPayload
)

// Watch keeps an eye on the store until ctx ends. After a full disk the server
// goes on failing where there is room by then: as soon as there is, Watch has
// it open its store again, from what is on the disk. Clients stay connected.
func (e *Embedded) Watch(ctx context.Context) {
	for bad := false; pause(ctx, watchEvery); {
		err := e.Healthy()
		if err == nil {
			if bad {
				e.log.Info("the embedded broker stores mail again", "dir", e.cfg.DataDir)
			}
			bad = false
			continue
		}
		if !bad {
			e.log.Error("nothing is taken until this is mended; the worker goes on by itself when there is room", "error", err)
		}
		bad = true
		if free, ferr := freeBytes(e.cfg.DataDir); ferr != nil || free < roomToMend {
			continue
		}
		if err := e.reopen(ctx); err != nil {
			e.log.Error("open the store again", "dir", e.cfg.DataDir, "error", err)
		}
	}
}

// reopen closes the store and opens it again, as a restart does.
func (e *Embedded) reopen(ctx context.Context) error {
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

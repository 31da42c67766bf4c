package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// MailLeft counts the messages of lanes in cfg.DataDir: waiting, scheduled or
// due. A worker calls it before it uses another broker, so that they are not
// forgotten. It opens no port, and makes nothing if there is no store. It fails
// with [ErrDirInUse] if another worker is sending them.
func MailLeft(ctx context.Context, cfg broker.Config, log *slog.Logger) (uint64, error) {
	_, err := os.Stat(filepath.Join(cfg.DataDir, server.JetStreamStoreDir, mailAccount))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for mail in POSTRIDER_DATA_DIR: %w", err)
	}
	n, err := countLeft(ctx, cfg, log)
	if err != nil {
		return 0, fmt.Errorf("look for mail in POSTRIDER_DATA_DIR: %w", err)
	}
	return n, nil
}

func countLeft(ctx context.Context, cfg broker.Config, log *slog.Logger) (n uint64, err error) {
	e, err := start(ctx, cfg, nil, log, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Shutdown(context.WithoutCancel(ctx))) }()
	c, err := e.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	all := c.JS().ListStreams(ctx)
	for s := range all.Info() {
		if _, ok := wire.LaneOfStream(s.Config.Name); ok {
			n += s.State.Msgs
		}
	}
	return n, all.Err()
}

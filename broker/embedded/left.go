package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// MailLeft counts the messages of lanes in cfg.DataDir: waiting, scheduled or
// due. A worker calls it before it uses another broker, so that they are not
// forgotten. It opens no port, and makes nothing if there is no store. It fails
// with [ErrDirInUse] if another worker is sending them, and with [ErrUnopened] if
// it cannot count all of them.
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
	// The server leaves out of its list what it could not open.
	if closed := e.unopened(); len(closed) > 0 {
		return 0, fmt.Errorf("%w: %s in %s: nobody knows how much mail is in them; see what the worker's log says of them, restore %s from a backup, or set POSTRIDER_DATA_DIR to another directory", ErrUnopened, strings.Join(closed, ", "), e.streamsDir(), cfg.DataDir)
	}
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

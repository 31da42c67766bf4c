package broker

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

	"github.com/postrider/postrider/wire"
)

// MailLeft counts the messages of lanes that lie in cfg.DataDir: not yet sent,
// scheduled or due. A worker asks before it uses another broker, so that they
// are not forgotten. It opens no port, and makes nothing where there is no
// such directory. It fails with [ErrDirInUse] where another worker sends them.
func MailLeft(ctx context.Context, cfg Config, log *slog.Logger) (n uint64, err error) {
	_, err = os.Stat(filepath.Join(cfg.DataDir, server.JetStreamStoreDir, mailAccount))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for mail in DATA_DIR: %w", err)
	}
	e, err := start(ctx, cfg, nil, log, false)
	if err != nil {
		return 0, fmt.Errorf("look for mail in DATA_DIR: %w", err)
	}
	defer func() { err = errors.Join(err, e.Shutdown(context.WithoutCancel(ctx))) }()
	c, err := e.Connect(ctx)
	if err != nil {
		return 0, fmt.Errorf("look for mail in DATA_DIR: %w", err)
	}
	defer c.Close()
	all := c.js.ListStreams(ctx)
	for s := range all.Info() {
		if isLaneStream(s.Config.Name) {
			n += s.State.Msgs
		}
	}
	if err := all.Err(); err != nil {
		return 0, fmt.Errorf("look for mail in DATA_DIR: %w", err)
	}
	return n, nil
}

// laneOfStream is the lane of a stream of undelivered mail, in capitals.
func laneOfStream(name string) string {
	var none wire.Lane
	name = strings.TrimPrefix(name, none.SendStream())
	return strings.TrimPrefix(name, none.LaterStream())
}

// isLaneStream tells streams of undelivered mail from records and logs.
func isLaneStream(name string) bool {
	var none wire.Lane
	return strings.HasPrefix(name, none.SendStream()) || strings.HasPrefix(name, none.LaterStream())
}

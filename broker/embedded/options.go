package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// Producers may open atomic batches too, and an open batch uses disk space that
// no limit of the account counts: hence fewer than the server's own 50 and
// 1,000. If there are too many, batches are refused and single publishes pass.
const (
	openBatchesPerStream = 16
	openBatches          = 64
)

// options are the server's, for producers of those lanes.
func (e *Server) options(lanes []wire.Lane) (*server.Options, error) {
	host, port, err := net.SplitHostPort(e.cfg.Listen)
	if err != nil {
		return nil, errors.New("NATS_LISTEN: is not host:port")
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > math.MaxUint16 {
		return nil, errors.New("NATS_LISTEN: has a port that is not 0 to 65535")
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	opts := &server.Options{
		ServerName:             broker.ServerName(e.operator),
		Host:                   host,
		Port:                   n,
		NoSigs:                 true, // the worker handles signals
		MaxPayload:             maxPayload,
		JetStream:              true,
		StoreDir:               e.cfg.DataDir,
		JetStreamMaxStore:      unlimited,
		JetStreamLimits:        server.JSLimitOpts{MaxBatchInflightPerStream: openBatchesPerStream, MaxBatchInflightTotal: openBatches},
		SyncAlways:             true,
		DisableJetStreamBanner: true,
	}
	return opts, configureAccounts(opts, lanes, e.operator, e.producer, broker.IsLoopback(e.cfg.Listen))
}

// portFree tells a port that is taken from other failures, and says who has it.
func portFree(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("NATS_LISTEN: %w", err)
	}
	at := broker.Reachable(addr)
	if g, ok := broker.Probe(ctx, at); ok {
		return fmt.Errorf("NATS_LISTEN: listen on %s: %w by a NATS server, version %s: set NATS_URL=nats://%s to use that one, or NATS_LISTEN to another address", addr, ErrPortTaken, g.Version, at)
	}
	return fmt.Errorf("NATS_LISTEN: listen on %s: %w by another program: stop it, or set NATS_LISTEN to another address", addr, ErrPortTaken)
}

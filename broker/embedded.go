package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/wire"
)

const (
	maxPayload = 8 << 20
	// startTimeout bounds the wait for JetStream to answer. Reading a million
	// schedules back took 3 s.
	startTimeout = time.Minute
	// unlimited is the server's own limit: the account has the one that counts,
	// which can be set once the server has read back what it has promised.
	unlimited = math.MaxInt64 / 4
)

// Embedded is a NATS server inside this process, with its mail in DATA_DIR.
// Writes are synced before they are acknowledged.
type Embedded struct {
	cfg    Config
	log    *slog.Logger
	server *server.Server
	lock   *os.File
}

// StartEmbedded starts the server on cfg.Listen and waits until JetStream
// answers. Producers reach those lanes and nothing else; on a loopback address
// they need no credentials. It fails with [ErrDirInUse] or [ErrPortTaken], and
// with the file system's errors.
func StartEmbedded(ctx context.Context, cfg Config, lanes []wire.Lane, log *slog.Logger) (*Embedded, error) {
	return start(ctx, cfg, lanes, log, true)
}

func start(ctx context.Context, cfg Config, lanes []wire.Lane, log *slog.Logger, listen bool) (_ *Embedded, err error) {
	patience := lockPatience
	if !listen {
		patience = 0 // who holds it sends the mail
	}
	lock, err := lockDir(ctx, cfg.DataDir, patience)
	if err != nil {
		return nil, err
	}
	e := &Embedded{cfg: cfg, log: log, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Shutdown(context.WithoutCancel(ctx)))
		}
	}()
	opts, err := e.options(lanes)
	if err != nil {
		return nil, err
	}
	if opts.DontListen = !listen; listen {
		if err := portFree(ctx, cfg.Listen); err != nil {
			return nil, err
		}
		if !isLoopback(cfg.Listen) {
			log.Warn("the embedded broker listens beyond this machine, and without TLS: mail crosses the network in the clear", "listen", cfg.Listen)
		}
	}
	if e.server, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("configure the embedded broker: %w", err)
	}
	words := &serverLog{log: log.With("part", "nats-server")}
	e.server.SetLogger(words, false, false)
	e.server.Start()
	if err := words.fatal(); err != nil {
		return nil, fmt.Errorf("start the embedded broker in %s: %w", cfg.DataDir, err)
	}
	if err := e.ready(ctx); err != nil {
		return nil, fmt.Errorf("start the embedded broker in %s: %w", cfg.DataDir, err)
	}
	return e, nil
}

// options are the server's.
func (e *Embedded) options(lanes []wire.Lane) (*server.Options, error) {
	host, port, err := net.SplitHostPort(e.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("NATS_LISTEN: %q is not host:port", e.cfg.Listen)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > math.MaxUint16 {
		return nil, fmt.Errorf("NATS_LISTEN: %q is not a port", port)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	operator, err := ensureKey(e.OperatorFile())
	if err != nil {
		return nil, err
	}
	producer, err := ensureKey(e.ProducerFile())
	if err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName:             serverName(operator, e.synced()),
		Host:                   host,
		Port:                   n,
		NoSigs:                 true, // signals are the worker's
		MaxPayload:             maxPayload,
		JetStream:              true,
		StoreDir:               e.cfg.DataDir,
		JetStreamMaxStore:      unlimited,
		SyncAlways:             e.synced(),
		DisableJetStreamBanner: true,
	}
	return opts, configureAccounts(opts, lanes, operator, producer, isLoopback(e.cfg.Listen))
}

// synced reports that writes are on the disk before they are acknowledged.
func (e *Embedded) synced() bool { return !e.cfg.Unsynced && !unsynced }

// portFree tells a taken port from other failures, and who has it.
func portFree(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("NATS_LISTEN: %w", err)
	}
	if g, ok := probe(ctx, dialable(addr)); ok {
		return fmt.Errorf("NATS_LISTEN: listen on %s: %w by a NATS server, version %s: set NATS_URL=nats://%s to use that one, or NATS_LISTEN to another address", addr, ErrPortTaken, g.Version, dialable(addr))
	}
	return fmt.Errorf("NATS_LISTEN: listen on %s: %w by another program: stop it, or set NATS_LISTEN to another address", addr, ErrPortTaken)
}

// ready waits for JetStream and then sets the account's limit.
func (e *Embedded) ready(ctx context.Context) error {
	if !e.server.ReadyForConnections(startTimeout) {
		return errors.New("it does not become ready")
	}
	account, err := e.server.LookupAccount(mailAccount)
	if err != nil {
		return err
	}
	stored, err := storedBytes(filepath.Join(e.cfg.DataDir, server.JetStreamStoreDir))
	if err != nil {
		return err
	}
	free, err := freeBytes(e.cfg.DataDir)
	if err != nil {
		return err
	}
	_, reserved, err := e.server.JetStreamReservedResources()
	if err != nil {
		return err
	}
	limit := storeLimit(free, stored, uint64(max(reserved, 0)))
	err = account.UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: int64(limit), MaxStreams: -1, MaxConsumers: -1,
		MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}})
	if err != nil {
		return fmt.Errorf("set the limit of %d bytes: %w", limit, err)
	}
	e.log.Debug("embedded broker ready", "url", e.URL(), "dir", e.cfg.DataDir, "stored", stored, "limit", limit)
	return ctx.Err()
}

// URL is where clients connect, with the port in use where NATS_LISTEN asked for any.
func (e *Embedded) URL() string {
	addr, ok := e.server.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return "nats://" + dialable(addr.String())
}

// OperatorFile is the seed of the key that may do everything with the mail.
func (e *Embedded) OperatorFile() string { return filepath.Join(e.cfg.DataDir, operatorFile) }

// ProducerFile is the seed of the key that may publish to lanes.
func (e *Embedded) ProducerFile() string { return filepath.Join(e.cfg.DataDir, producerFile) }

// Connect connects to the server as an operator, inside the process.
func (e *Embedded) Connect(ctx context.Context) (*Conn, error) {
	key, err := nats.NkeyOptionFromSeed(e.OperatorFile())
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	c, err := open(ctx, e.cfg.Role, e.log, "", key, nats.InProcessServer(e.server))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	c.embedded = true
	return c, nil
}

// Healthy reports what keeps the server from storing mail: after a full disk
// its writes fail also where there is room by then, until [Embedded.Watch] has
// opened the store again.
func (e *Embedded) Healthy() error {
	if h := e.server.Healthz(nil); h.Error != "" {
		return fmt.Errorf("the embedded broker cannot store mail: %s; make room in %s", h.Error, e.cfg.DataDir)
	}
	return nil
}

// Shutdown closes the clients' connections and the store, and gives DATA_DIR
// free. Where ctx ends first, the lock stays until the process ends. Doing it
// again changes nothing.
func (e *Embedded) Shutdown(ctx context.Context) error {
	if e.server != nil {
		done := make(chan struct{})
		go func() {
			e.server.Shutdown()
			e.server.WaitForShutdown()
			close(done)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("stop the embedded broker: %w", context.Cause(ctx))
		}
	}
	if err := e.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

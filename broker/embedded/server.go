// Package embedded is the broker in the process: a NATS server with JetStream,
// its mail and its credentials in POSTRIDER_DATA_DIR, its writes synced before they are
// acknowledged.
//
// The order of use is [Start], then [Server.Connect], then broker.Provision on
// that connection. [Server.Watch] runs beside, [Server.Shutdown] ends it.
//
// It is a package of its own so that programs which only connect to a broker do
// not carry the server, which is 11 MB.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// What prevents a start. None passes by itself. Test with
// errors.Is.
var (
	// ErrPortTaken: NATS_LISTEN names an address that is in use.
	ErrPortTaken = errors.New("the address is taken")
	// ErrDirInUse: another process has locked POSTRIDER_DATA_DIR.
	ErrDirInUse = errors.New("the directory is in use")
	// ErrUnopened: some streams in POSTRIDER_DATA_DIR cannot be read.
	ErrUnopened = errors.New("some streams cannot be opened")
)

const (
	maxPayload = 8 << 20
	// startTimeout bounds the wait for JetStream to answer. Reading a million
	// schedules from the disk took 3 s.
	startTimeout = time.Minute
	// unlimited is the server's own limit. The account has the limit that
	// counts; it can be set only when the server has read what its streams
	// reserve.
	unlimited = math.MaxInt64 / 4
)

// Server is a NATS server inside this process.
type Server struct {
	// Start sets these; nothing changes them later, so any goroutine may read them.
	cfg    broker.Config
	log    *slog.Logger
	server *server.Server // nil if the start failed before it was made
	// lock is that on the directory. Shutdown closes it.
	lock *dirLock
	// operator and producer are the public keys of both users. start sets them.
	operator, producer string
	// limit is how many bytes may be stored. start sets it, and later Watch's goroutine.
	limit uint64
	// served: clients can connect, so that a clean stop is worth its counts. start sets it.
	served bool
	// keeping makes one write of the file of damages at a time.
	keeping sync.Mutex
	// fault is what the last look at the store found; nil for nothing. Watch's goroutine
	// sets it, any may read it.
	fault atomic.Pointer[error]
}

// Start starts the server on cfg.Listen and waits until JetStream answers. It
// makes cfg.DataDir and the credentials in it if they are missing. Producers can
// publish to those lanes and do nothing else; on a loopback address they need no
// credentials. It fails with [ErrDirInUse] or [ErrPortTaken], and with errors of
// the file system.
func Start(ctx context.Context, cfg broker.Config, lanes []wire.Lane, log *slog.Logger) (*Server, error) {
	return start(ctx, cfg, lanes, log, true)
}

// start without listen opens no port and does not wait for the lock: whoever
// has it sends the mail.
func start(ctx context.Context, cfg broker.Config, lanes []wire.Lane, log *slog.Logger, listen bool) (_ *Server, err error) {
	patience := lockPatience
	if !listen {
		patience = 0
	}
	lock, err := lockDir(ctx, cfg.DataDir, patience)
	if err != nil {
		return nil, err
	}
	e := &Server{cfg: cfg, log: log, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Shutdown(context.WithoutCancel(ctx)))
		}
	}()
	if err := e.ensureKeys(); err != nil {
		return nil, err
	}
	opts, err := e.options(lanes)
	if err != nil {
		return nil, err
	}
	if opts.DontListen = !listen; listen {
		if err := portFree(ctx, cfg.Listen); err != nil {
			return nil, err
		}
		if !broker.IsLoopback(cfg.Listen) {
			log.Warn("the embedded broker listens beyond this machine, and without TLS: mail crosses the network in the clear", "listen", cfg.Listen)
		}
	}
	if e.server, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("configure the embedded broker: %w", err)
	}
	words := &serverLog{log: log.With("part", "nats-server"), store: e, said: map[string]bool{}}
	e.server.SetLogger(words, false, false)
	e.server.Start()
	if err := words.fatal(); err != nil {
		return nil, fmt.Errorf("start the embedded broker in %s: %w", cfg.DataDir, err)
	}
	if err := e.ready(ctx); err != nil {
		return nil, fmt.Errorf("start the embedded broker in %s: %w", cfg.DataDir, err)
	}
	if !listen {
		return e, nil
	}
	if closed := e.unopened(); len(closed) > 0 {
		e.damaged(fmt.Sprintf("%s cannot be opened: the mail in them is not sent (%s)", strings.Join(closed, ", "), e.streamsDir()))
	}
	if err := e.compareCounts(); err != nil {
		return nil, err
	}
	e.served = true
	return e, nil
}

// ready waits for JetStream and then sets the account's limit.
func (e *Server) ready(ctx context.Context) error {
	if !e.server.ReadyForConnections(startTimeout) {
		return errors.New("it does not become ready")
	}
	stored, err := storedBytes(filepath.Join(e.cfg.DataDir, server.JetStreamStoreDir))
	if err != nil {
		return err
	}
	free, err := broker.FreeBytes(e.cfg.DataDir)
	if err != nil {
		return err
	}
	_, reserved, err := e.server.JetStreamReservedResources()
	if err != nil {
		return err
	}
	e.limit = storeLimit(free, stored, uint64(max(reserved, 0)))
	if err := e.setLimit(); err != nil {
		return err
	}
	e.log.Debug("embedded broker ready", "url", e.URL(), "dir", e.cfg.DataDir, "stored", stored, "limit", e.limit)
	return ctx.Err()
}

// setLimit limits what the account may store.
func (e *Server) setLimit() error {
	account, err := e.server.LookupAccount(mailAccount)
	if err != nil {
		return err
	}
	err = account.UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: int64(e.limit), MaxStreams: -1, MaxConsumers: -1,
		MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}})
	if err != nil {
		return fmt.Errorf("set the limit of %d bytes: %w", e.limit, err)
	}
	return nil
}

// URL is where clients connect. It has the port in use if NATS_LISTEN asked for
// any port.
func (e *Server) URL() string {
	addr, ok := e.server.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return "nats://" + broker.Reachable(addr.String())
}

// OperatorFile is the file with the seed of the key that may do everything with
// the mail.
func (e *Server) OperatorFile() string { return broker.OperatorFile(e.cfg.DataDir) }

// ProducerFile is the file with the seed of the key that may publish to lanes.
func (e *Server) ProducerFile() string { return broker.ProducerFile(e.cfg.DataDir) }

// Connect connects to the server as an operator, inside the process.
func (e *Server) Connect(ctx context.Context) (*broker.Conn, error) {
	return broker.Inside(ctx, e.cfg.Role, e.log, e.OperatorFile(), e.server)
}

// look asks the server how it is. It waits for as long as the server does not
// answer.
func (e *Server) look() *server.HealthStatus {
	return e.server.Healthz(&server.HealthzOptions{Details: true})
}

// health is what keeps the server from storing mail, by its answer. The server takes a stream that is
// just being made for one that it could not open: to open the store again would
// interrupt that. Only right after the store was opened are all streams there.
func (e *Server) health(status *server.HealthStatus, opened bool) error {
	for _, h := range status.Errors {
		if h.Type == server.HealthzErrorStream && !opened && !strings.Contains(h.Error, "write error") {
			continue
		}
		return errors.New(h.Error)
	}
	return nil
}

// Fault is why no mail can be stored, as of the last look of [Server.Watch]; nil if it
// can.
func (e *Server) Fault() error {
	if err := e.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// streamsDir has a directory for each stream.
func (e *Server) streamsDir() string {
	return filepath.Join(e.cfg.DataDir, server.JetStreamStoreDir, mailAccount, "streams")
}

// unopened are the streams on the disk that the server could not open. Ask right
// after the store was opened: later a stream may be in the making.
func (e *Server) unopened() (names []string) {
	for _, h := range e.look().Errors {
		if h.Type == server.HealthzErrorStream {
			names = append(names, h.Stream)
		}
	}
	return names
}

// Shutdown closes the clients' connections and the store, and unlocks POSTRIDER_DATA_DIR.
// If ctx ends first, the lock stays until the process ends; likewise after
// [ErrBroken], when the server would not end. A second call does nothing.
func (e *Server) Shutdown(ctx context.Context) error {
	if errors.Is(e.Fault(), ErrBroken) {
		return nil
	}
	if e.server != nil {
		done := make(chan error, 1)
		go func() { done <- e.stop() }()
		select {
		case err := <-done:
			if err != nil {
				e.log.Warn("stop the embedded broker", "error", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("stop the embedded broker: %w", context.Cause(ctx))
		}
	}
	if err := e.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// stop ends the server, and keeps what its streams had.
func (e *Server) stop() error {
	var all map[string]count
	if e.served && e.server.Running() {
		all = e.counts()
	}
	unwritten := unwritten(e)
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return errors.Join(forgetIndexes(unwritten), e.keepCounts(all))
}

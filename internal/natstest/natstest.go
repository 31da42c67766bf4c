// Package natstest gives a test the embedded broker as it is shipped: synced
// writes, two accounts, streams and consumers provisioned.
package natstest

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

// Timeout bounds each step of the helpers.
const Timeout = 30 * time.Second

var discard = slog.New(slog.DiscardHandler)

// Options differ from what is shipped.
type Options struct {
	// AckWait of the consumers; 0 means the default. At least 1 s.
	AckWait time.Duration
	// Log takes the words of broker and connections; nil discards them.
	Log *slog.Logger
}

// Broker is a running broker and an operator's connection to it.
type Broker struct {
	// Embedded is replaced by Restart and Kill.
	Embedded *embedded.Server
	// Conn is connected over TCP and survives Restart and Kill, as a worker's
	// connection does.
	Conn *broker.Conn
	// Config is what a worker of this broker would have, NATS_URL included.
	Config broker.Config
	// Lanes are those that are provisioned.
	Lanes []wire.Lane

	log *slog.Logger
}

// Start starts a broker with those lanes, or with "normal" alone. It ends with
// the test.
func Start(t testing.TB, lanes ...wire.Lane) *Broker {
	t.Helper()
	return StartWith(t, Options{}, lanes...)
}

// StartWith is Start with options.
func StartWith(t testing.TB, o Options, lanes ...wire.Lane) *Broker {
	t.Helper()
	if len(lanes) == 0 {
		lanes = []wire.Lane{"normal"}
	}
	b := &Broker{Config: broker.DefaultConfig(), Lanes: lanes, log: o.Log}
	if b.log == nil {
		b.log = discard
	}
	b.Config.DataDir = t.TempDir()
	b.Config.Listen = freeport.Addr()
	if o.AckWait > 0 {
		b.Config.AckWait = o.AckWait
	}
	b.start(t)
	t.Cleanup(func() { b.stop(t) })
	b.Conn = b.Connect(t, broker.Worker)
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	if _, err := broker.Provision(ctx, b.Conn, b.Lanes, b.Config); err != nil {
		t.Fatalf("provision the broker: %v", err)
	}
	return b
}

// Connect opens another connection, closed at the end of the test. An operator
// and a worker have all rights, a publisher those of producers.
func (b *Broker) Connect(t testing.TB, role broker.Role) *broker.Conn {
	t.Helper()
	return connect(t, b.Config, role, b.log)
}

func connect(t testing.TB, cfg broker.Config, role broker.Role, log *slog.Logger) *broker.Conn {
	t.Helper()
	cfg.Role = role
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	c, err := broker.Dial(ctx, cfg, log)
	if err != nil {
		t.Fatalf("connect to the broker: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// Producer is a plain NATS client without credentials, as an application is.
func (b *Broker) Producer(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.Config.URL, opts...)
	if err != nil {
		t.Fatalf("connect as a producer: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Restart stops the broker and starts it again on the same directory and port.
// It returns once Conn is connected again.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	b.stop(t)
	b.start(t)
	b.awaitConn(t)
}

// Kill starts the broker again from its files as they were before it could
// write anything more, as after kill -9: what was not flushed (deliveries and
// acknowledgements of the last 100 ms) is forgotten. Nothing may publish
// meanwhile.
func (b *Broker) Kill(t testing.TB) {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(b.Config.DataDir)); err != nil {
		t.Fatalf("copy the broker's files: %v", err)
	}
	b.stop(t)
	b.Config.DataDir = copied
	b.start(t)
	b.awaitConn(t)
}

// start starts it, at the same port each time.
func (b *Broker) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	e, err := embedded.Start(ctx, b.Config, b.Lanes, b.log)
	if err != nil {
		t.Fatalf("start the broker: %v", err)
	}
	u, err := url.Parse(e.URL())
	if err != nil {
		t.Fatalf("read the broker's URL: %v", err)
	}
	b.Embedded, b.Config.URL, b.Config.Listen = e, e.URL(), u.Host
}

func (b *Broker) stop(t testing.TB) {
	t.Helper()
	// The test's own context has ended by the time of its cleanups.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Timeout)
	defer cancel()
	if err := b.Embedded.Shutdown(ctx); err != nil {
		t.Errorf("stop the broker: %v", err)
	}
}

// awaitConn returns once Conn has reconnected and JetStream answers it.
func (b *Broker) awaitConn(t testing.TB) {
	t.Helper()
	var err error
	testrun.Eventually(t, "the broker answers again", Timeout, func() bool {
		_, _, err = b.Conn.Room(Within(t))
		return err == nil
	}, func() string { return err.Error() })
}

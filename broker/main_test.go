package broker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const (
	normal = wire.Lane("normal")
	bulk   = wire.Lane("bulk")
)

var quiet = slog.New(slog.DiscardHandler)

// within is the test's context with a bound.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// embeddedConfig is that of a worker alone, on any port and a fresh directory.
func embeddedConfig(t testing.TB) broker.Config {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.DataDir = t.TempDir()
	return cfg
}

// startEmbedded starts a broker and connects to it in the process. The caller
// may shut it down itself.
func startEmbedded(t testing.TB, cfg broker.Config, lanes ...wire.Lane) (*embedded.Server, *broker.Conn) {
	t.Helper()
	e, err := embedded.Start(within(t), cfg, lanes, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, e) })
	c, err := e.Connect(within(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return e, c
}

func shutdown(t testing.TB, e *embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
}

// awaitLast waits for a message that the broker itself puts into a stream.
func awaitLast(t *testing.T, c *broker.Conn, stream, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	q, err := c.JS().OrderedConsumer(within(t), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverLastPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Next(jetstream.FetchMaxWait(20 * time.Second)); err != nil {
		t.Fatalf("nothing arrives on %s: %v", subject, err)
	}
	m, err := c.Store().Last(within(t), stream, subject)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

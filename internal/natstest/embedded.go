package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/wire"
)

// EmbeddedConfig is that of a worker alone, on any port and in a fresh directory.
func EmbeddedConfig(t testing.TB) broker.Config {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.DataDir = t.TempDir()
	return cfg
}

// StartEmbedded starts the embedded broker and connects to it in the process. The
// caller may shut it down itself.
func StartEmbedded(t testing.TB, cfg broker.Config, lanes ...wire.Lane) (*embedded.Server, *broker.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	e, err := embedded.Start(ctx, cfg, lanes, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Shutdown(t, e) })
	c, err := e.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return e, c
}

// Shutdown ends an embedded broker.
func Shutdown(t testing.TB, e *embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
}

// AwaitLast waits for a message that the broker itself puts into a stream.
func AwaitLast(t testing.TB, c *broker.Conn, stream, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	q, err := c.JS().OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverLastPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Next(jetstream.FetchMaxWait(20 * time.Second)); err != nil {
		t.Fatalf("nothing arrives on %s: %v", subject, err)
	}
	m, err := c.Store().Last(ctx, stream, subject)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

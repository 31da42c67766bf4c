package embedded

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
)

// TestReopen: mail and connections survive, and writes are synced as before.
func TestReopen(t *testing.T) {
	t.Parallel()
	cfg := broker.DefaultConfig()
	cfg.DataDir, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	log := slog.New(slog.DiscardHandler)
	e, err := Start(t.Context(), cfg, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	c, err := e.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := broker.Provision(t.Context(), c, nil, cfg); err != nil {
		t.Fatal(err)
	}
	_, limit, err := c.Room(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.server.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	if e.Healthy() == nil {
		t.Error("a broker without its store is healthy")
	}
	if err := e.reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Healthy(); err != nil {
		t.Error(err)
	}
	if !e.server.JetStreamConfig().SyncAlways {
		t.Error("writes are not synced any more")
	}
	_, again, err := c.Room(t.Context())
	if err != nil || again < limit/2 || again > limit*2 {
		t.Errorf("the limit was %d and is %d: %v", limit, again, err)
	}
	if _, err := c.JS().Stream(t.Context(), "MAIL_DEAD"); err != nil {
		t.Errorf("a stream is gone: %v", err)
	}
	if err := os.Mkdir(filepath.Join(cfg.DataDir, "jetstream", "MAIL", "streams", "MAIL_DAMAGED"), 0o700); err != nil {
		t.Fatal(err)
	}
	if e.reopen(t.Context()) == nil {
		t.Error("the store is taken for open without one of its streams")
	}
}

// TestReopenFails: a store that cannot be opened again is reported once, without a
// word of room, and as a fault all the while.
func TestReopenFails(t *testing.T) {
	t.Parallel()
	cfg := broker.DefaultConfig()
	cfg.DataDir, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	var log Logged
	e, err := Start(t.Context(), cfg, nil, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	// Each opening starts goroutines of the server that read, as they begin, what the next
	// one writes without a lock (nats-server 2.15.2). Ticks are two seconds apart.
	const begun = 200 * time.Millisecond
	time.Sleep(begun)
	damaged := filepath.Join(e.streamsDir(), "MAIL_DAMAGED")
	if err := os.MkdirAll(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.server.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	w := newWatch(e)
	for range 5 {
		if err := w.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(begun)
		if e.Fault() == nil {
			t.Error("a store that is not open is no fault")
		}
	}
	said := log.String()
	if strings.Count(said, "cannot store mail") != 1 || strings.Count(said, "cannot be opened again") != 1 || strings.Contains(said, "room") {
		t.Errorf("it says:\n%s", said)
	}
	if err := os.Remove(damaged); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(begun)
	}
	if e.Fault() != nil || !strings.Contains(log.String(), "stores mail again") {
		t.Errorf("%v: %s", e.Fault(), log.String())
	}
}

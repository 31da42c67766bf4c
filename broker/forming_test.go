package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// heard closes yes when a line with those words is logged.
type heard struct {
	words []byte
	once  sync.Once
	yes   chan struct{}
}

func (h *heard) Write(line []byte) (int, error) {
	if bytes.Contains(line, h.words) {
		h.once.Do(func() { close(h.yes) })
	}
	return len(line), nil
}

// TestClusterStillForming: a worker that starts before the last server of a
// cluster waits for it, as it waits for a broker.
func TestClusterStillForming(t *testing.T) {
	t.Parallel()
	n := natstest.NewCluster(t, time.Minute)
	n.Start(t, 0)
	n.Start(t, 1)
	said := &heard{words: []byte("waiting for the cluster"), yes: make(chan struct{})}
	c, err := broker.Dial(natstest.Within(t), n.Config, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		done <- c.WhenFormed(natstest.Within(t), func() error {
			_, err := broker.Provision(natstest.Within(t), c, []wire.Lane{normal}, n.Config)
			return err
		})
	}()
	select {
	case err := <-done:
		t.Fatalf("it does not wait: %v", err)
	case <-said.yes:
	}
	n.Start(t, 2)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestClusterTooSmall: if servers are missing for good, the wait ends with a
// sentence about them.
func TestClusterTooSmall(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, normal)
	n.Config.Replicas = 5
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c, tries := n.Connect(t, broker.Worker), 0
	err := c.WhenFormed(ctx, func() error {
		tries++
		_, err := broker.Provision(ctx, c, []wire.Lane{normal, bulk}, n.Config)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "POSTRIDER_REPLICAS") || tries < 2 {
		t.Errorf("after %d tries %v, want a sentence about POSTRIDER_REPLICAS", tries, err)
	}
}

// TestSingleServerBusy: the log does not speak of a cluster if there is none.
func TestSingleServerBusy(t *testing.T) {
	t.Parallel()
	words := &log{}
	cfg := broker.DefaultConfig()
	cfg.DataDir, cfg.URL = t.TempDir(), natstest.StartServer(t, func(*server.Options) {})
	c, err := broker.Dial(natstest.Within(t), cfg, slog.New(slog.NewTextHandler(words, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tries := 0
	err = c.WhenFormed(natstest.Within(t), func() error {
		if tries++; tries == 1 {
			return stream.ErrAway
		}
		return nil
	})
	if said := words.String(); err != nil || !strings.Contains(said, "waiting for the broker") || strings.Contains(said, "cluster") {
		t.Errorf("%v; said:\n%s", err, said)
	}
}

// TestWaitForClusterIsStopped: the error says that it was told to stop, and what
// it waited for.
func TestWaitForClusterIsStopped(t *testing.T) {
	t.Parallel()
	c := natstest.Start(t).Conn
	ctx, cancel := context.WithCancel(t.Context())
	err := c.WhenFormed(ctx, func() error {
		cancel()
		return stream.ErrAway
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, stream.ErrAway) {
		t.Errorf("WhenFormed = %v", err)
	}
}

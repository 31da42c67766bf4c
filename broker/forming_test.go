package broker_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/schema"
)

// heard closes itself when a line with those words is logged.
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

// TestClusterStillForming: a worker that is there before the last server of a
// cluster waits for it, as it waits for a broker that is not there at all.
func TestClusterStillForming(t *testing.T) {
	t.Parallel()
	n := natstest.NewCluster(t, time.Minute)
	n.Start(t, 0)
	n.Start(t, 1)
	said := &heard{words: []byte("waiting for the cluster"), yes: make(chan struct{})}
	c, err := broker.Dial(within(t), n.Config, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		done <- c.WhenFormed(within(t), func() error {
			_, err := broker.Provision(within(t), c, []schema.Lane{normal}, n.Config)
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

// TestClusterTooSmall: where servers do not come, the wait ends with a sentence.
func TestClusterTooSmall(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, normal)
	n.Config.Replicas = 5
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c, tries := n.Connect(t, broker.Worker), 0
	err := c.WhenFormed(ctx, func() error {
		tries++
		_, err := broker.Provision(ctx, c, []schema.Lane{normal, bulk}, n.Config)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "REPLICAS") || tries < 2 {
		t.Errorf("after %d tries %v, want a sentence about REPLICAS", tries, err)
	}
}

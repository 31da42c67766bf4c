package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	healthEvery = 5 * time.Second
	healthFor   = 3 * time.Second
	// failures in a row count: one alone may be the election of a leader.
	failures = 2
)

// Health is whether a broker that others run can store, as it said last. Its methods may
// be called concurrently.
type Health struct {
	conn *Conn
	log  *slog.Logger

	mu     sync.Mutex
	failed int
	err    error // why it failed last
}

// NewHealth is the health of the broker of that connection.
func NewHealth(c *Conn, log *slog.Logger) *Health { return &Health{conn: c, log: log} }

// Fault is why the broker cannot store; nil if it can, as far as is known.
func (h *Health) Fault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed < failures {
		return nil
	}
	return h.err
}

// Watch asks every five seconds until ctx ends, and logs what changes.
func (h *Health) Watch(ctx context.Context) {
	for stream.Pause(ctx, healthEvery) {
		before := h.Fault()
		h.ask(ctx)
		switch now := h.Fault(); {
		case ctx.Err() != nil:
		case now != nil && before == nil:
			h.log.Warn("not ready: nothing can be stored", "error", now)
		case now == nil && before != nil:
			h.log.Info("ready again: the broker can store")
		}
	}
}

// ask asks once. While there is no connection it keeps what it knows: the connection says
// more.
func (h *Health) ask(ctx context.Context) {
	if !h.conn.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, healthFor)
	defer cancel()
	err := h.conn.quorum(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err = err; err == nil {
		h.failed = 0
		return
	}
	h.failed++
}

// quorum asks for MAIL_RECORD, without which nothing is settled. A leader that has lost
// its quorum answers as before for up to twenty seconds, but knows who is offline.
func (c *Conn) quorum(ctx context.Context) error {
	b, err := c.store.API(ctx, "STREAM.INFO."+wire.StreamRecord, nil)
	if err != nil {
		return fmt.Errorf("ask the broker for %s: %w", wire.StreamRecord, err)
	}
	var info struct {
		Cluster *jetstream.ClusterInfo `json:"cluster"`
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	if info.Cluster == nil {
		return nil
	}
	return lacking(info.Cluster)
}

// lacking says what a stream of a cluster lacks to be written to; nil for nothing. The
// list of replicas has all servers or, if one of them leads, all others. Without a leader
// it may say for some seconds that a lost server is online.
func lacking(c *jetstream.ClusterInfo) error {
	all, online := len(c.Replicas), 0
	if c.Leader != "" {
		all, online = all+1, 1
	}
	for _, r := range c.Replicas {
		if !r.Offline {
			online++
		}
	}
	if c.Leader != "" && 2*online > all {
		return nil
	}
	return fmt.Errorf("the NATS cluster has no leader or quorum: %d of the %d servers with %s seem to be online; more than half must be, and elect a leader", online, all, wire.StreamRecord)
}

package natstest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/wire"
)

// Cluster is three servers that share their streams, as an operator runs them:
// without our accounts, every write synced.
type Cluster struct {
	// Config is what a worker of this cluster would have.
	Config broker.Config

	opts    []*server.Options
	servers []*server.Server
}

// StartCluster starts three servers and provisions those lanes. They end with
// the test.
func StartCluster(t testing.TB, ackWait time.Duration, lanes ...wire.Lane) *Cluster {
	t.Helper()
	c := NewCluster(t, ackWait)
	for i := range c.servers {
		c.Start(t, i)
	}
	conn := c.Connect(t, broker.Worker)
	ctx, cancel := context.WithTimeout(t.Context(), 2*Timeout)
	defer cancel()
	if err := conn.WhenFormed(ctx, func() error {
		_, err := broker.Provision(ctx, conn, lanes, c.Config)
		return err
	}); err != nil {
		t.Fatalf("provision the cluster: %v", err)
	}
	return c
}

// NewCluster is three servers that are not started yet.
func NewCluster(t testing.TB, ackWait time.Duration) *Cluster {
	t.Helper()
	c := &Cluster{Config: broker.DefaultConfig(), opts: clusterOptions(t, 3)}
	c.Config.DataDir = t.TempDir() // has nothing of the cluster
	c.Config.AckWait = ackWait
	urls := make([]string, len(c.opts))
	c.servers = make([]*server.Server, len(c.opts))
	for i, o := range c.opts {
		urls[i] = "nats://" + net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	}
	c.Config.URL = strings.Join(urls, ",")
	t.Cleanup(func() {
		for i := range c.servers {
			c.Stop(i)
		}
	})
	return c
}

// clusterOptions are those of n servers with routes to each other.
func clusterOptions(t testing.TB, n int) []*server.Options {
	t.Helper()
	var routes []*url.URL
	opts := make([]*server.Options, n)
	for i := range opts {
		opts[i] = &server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: freeport.Port(), NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, JetStreamMaxStore: 4 << 30, MaxPayload: 8 << 20,
			Cluster: server.ClusterOpts{Name: "postrider", Host: "127.0.0.1", Port: freeport.Port()},
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(opts[i].Cluster.Port))})
	}
	for _, o := range opts {
		o.Routes = routes
	}
	return opts
}

// Start starts server i, also after [Cluster.Stop].
func (c *Cluster) Start(t testing.TB, i int) {
	t.Helper()
	s, err := server.NewServer(c.opts[i].Clone())
	if err != nil {
		t.Fatalf("start server %d: %v", i, err)
	}
	s.Start()
	if !s.ReadyForConnections(Timeout) {
		t.Fatalf("server %d does not become ready", i)
	}
	c.servers[i] = s
}

// Stop stops server i.
func (c *Cluster) Stop(i int) {
	if c.servers[i] == nil {
		return
	}
	c.servers[i].Shutdown()
	c.servers[i].WaitForShutdown()
}

// Leader is the server that leads that stream; -1 while none does.
func (c *Cluster) Leader(stream string) int {
	for i, s := range c.servers {
		if s != nil && s.Running() && s.JetStreamIsStreamLeader("$G", stream) {
			return i
		}
	}
	return -1
}

// Connect opens a connection, closed at the end of the test.
func (c *Cluster) Connect(t testing.TB, role broker.Role) *broker.Conn {
	t.Helper()
	return Dial(t, c.Config, role)
}

// Dial connects to the broker of a configuration, until the end of the test.
func Dial(t testing.TB, cfg broker.Config, role broker.Role) *broker.Conn {
	t.Helper()
	return connect(t, cfg, role, discard)
}

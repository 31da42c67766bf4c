package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
)

const (
	// ready bounds every wait for something that is to come by itself.
	ready = 90 * time.Second
	// ackWait is the workers': after it another one has what a silent one had.
	ackWait = 5 * time.Second
)

// fleet is what one test runs.
type fleet struct {
	t                         *testing.T
	began                     time.Time
	host                      string // where published ports are
	routes, front, out, admin *testcontainers.DockerNetwork
	nodes                     []*node
	relay                     *testcontainers.DockerContainer
	workers                   []*worker
	load                      *load
	faults                    []storm.Fault
	stepDowns                 int // of leaders; what arrives at one may be sent twice

	mu         sync.Mutex
	containers map[string]*testcontainers.DockerContainer // that ran, by what they were
	networks   []*testcontainers.DockerNetwork
}

// begin starts brokers, a relay and workers, which end with the test; relay are further
// flags of the relay.
func begin(t *testing.T, workers int, relay ...string) *fleet {
	t.Helper()
	needEngine(t)
	t.Parallel()
	f := &fleet{t: t, began: time.Now(), containers: make(map[string]*testcontainers.DockerContainer)}
	t.Cleanup(f.end)
	var err error
	if f.host, err = docker.provider.DaemonHost(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []struct {
		at       **testcontainers.DockerNetwork
		internal bool
	}{{&f.routes, true}, {&f.front, true}, {&f.out, true}, {&f.admin, false}} {
		*n.at = f.network(n.internal)
	}
	for i := range 3 {
		f.nodes = append(f.nodes, &node{name: fmt.Sprintf("n%d", i+1), port: freeport.Port(), monitor: freeport.Port()})
	}
	var starting sync.WaitGroup
	errs := make([]error, 1+len(f.nodes))
	starting.Go(func() { errs[len(f.nodes)] = f.startRelay(relay) })
	for i, n := range f.nodes {
		starting.Go(func() { errs[i] = f.startNode(n) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	// Their broker is only just there: they have to wait for it by themselves.
	for range workers {
		f.startWorker(olderImage)
	}
	for _, w := range f.workers {
		w.await(t, "/readyz", true)
	}
	return f
}

func (f *fleet) network(internal bool) *testcontainers.DockerNetwork {
	f.t.Helper()
	opts := []network.NetworkCustomizer{network.WithLabels(map[string]string{label: docker.run})}
	if internal {
		opts = append(opts, network.WithInternal())
	}
	n, err := network.New(f.t.Context(), opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.networks = append(f.networks, n)
	return n
}

// run starts a container, which is removed with the test.
func (f *fleet) run(name string, i image, opts ...testcontainers.ContainerCustomizer) (*testcontainers.DockerContainer, error) {
	opts = append(opts, testcontainers.WithLabels(map[string]string{label: docker.run}))
	c, err := testcontainers.Run(f.t.Context(), docker.name(i), opts...)
	if c != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.containers[name] = c
	}
	return c, err
}

// end removes everything. Where the test failed it shows the end of what was
// said in each container.
func (f *fleet) end() {
	var ending sync.WaitGroup
	for name, c := range f.containers {
		if f.t.Failed() {
			f.t.Logf("%s said:\n%s", name, said(c))
		}
		ending.Go(func() { f.remove(c) })
	}
	ending.Wait()
	for _, n := range f.networks {
		if err := n.Remove(context.Background()); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fleet) remove(c *testcontainers.DockerContainer) {
	_, err := docker.provider.Client().ContainerRemove(context.Background(), c.GetContainerID(),
		client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil {
		f.t.Error(err)
	}
}

// said is the end of a container's output.
func said(c *testcontainers.DockerContainer) string {
	b, err := output(c)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

func output(c *testcontainers.DockerContainer) ([]byte, error) {
	r, err := c.Logs(context.Background())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (f *fleet) startRelay(flags []string) (err error) {
	flags = append([]string{"-listen", "0.0.0.0:25", "-delay", "50ms", "-book", "/book", "-open", "/open"}, flags...)
	f.relay, err = f.run("relay", relayImage,
		testcontainers.WithCmd(flags...),
		network.WithNetwork([]string{"relay"}, f.out))
	return err
}

// url names the brokers as they are published.
func (f *fleet) url() string {
	var all []string
	for _, n := range f.nodes {
		all = append(all, "nats://"+net.JoinHostPort(f.host, strconv.Itoa(n.port)))
	}
	return strings.Join(all, ",")
}

// dial connects to one of the brokers as an operator does.
func (f *fleet) dial(ctx context.Context) (*broker.Conn, error) {
	cfg := broker.DefaultConfig()
	cfg.URL, cfg.Role, cfg.DataDir = f.url(), broker.Operator, f.t.TempDir()
	return broker.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
}

package fleet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"

	"github.com/postrider/postrider/internal/testrun"
)

// node is one broker of the cluster. Its ports, for clients and monitoring, stay
// when it is started again.
type node struct {
	name      string
	port      int
	monitor   int
	container *testcontainers.DockerContainer
}

// Clients and other nodes are told names that only their own network knows.
const nodeConfig = `
server_name: %[1]s
listen: 0.0.0.0:4222
http: 0.0.0.0:8222
client_advertise: "%[1]s:4222"
jetstream {
	store_dir: /data
	sync_interval: always
	max_file_store: 1G
	max_memory_store: 64M
}
cluster {
	name: fleet
	listen: 0.0.0.0:6222
	cluster_advertise: "route-%[1]s:6222"
	routes: ["nats://route-n1:6222", "nats://route-n2:6222", "nats://route-n3:6222"]
}
`

func (n *node) route() string { return "route-" + n.name }

func (f *fleet) startNode(n *node) (err error) {
	n.container, err = f.run(n.name, brokerImage,
		testcontainers.WithCmd("-c", "/nats.conf"),
		testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader: strings.NewReader(fmt.Sprintf(nodeConfig, n.name)), ContainerFilePath: "/nats.conf", FileMode: 0o644,
		}),
		// A volume, as in production: its file system is the engine's own, and synced
		// writes to it do not pass through an overlay.
		testcontainers.WithConfigModifier(func(c *container.Config) { c.Volumes = map[string]struct{}{"/data": {}} }),
		publish(map[string]int{"4222/tcp": n.port, "8222/tcp": n.monitor}),
		network.WithNetwork(nil, f.admin),
		network.WithNetwork([]string{n.name}, f.front),
		network.WithNetwork([]string{n.route()}, f.routes))
	return err
}

// kill kills a broker, and start starts it again with what it had stored.
func (f *fleet) kill(n *node) {
	f.t.Helper()
	_, err := docker.provider.Client().ContainerKill(f.t.Context(), n.container.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) start(n *node) {
	f.t.Helper()
	_, err := docker.provider.Client().ContainerStart(f.t.Context(), n.container.GetContainerID(), client.ContainerStartOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
}

// wipe kills a broker and starts another of its name with an empty store.
func (f *fleet) wipe(n *node) {
	f.t.Helper()
	f.kill(n)
	f.remove(n.container)
	if err := f.startNode(n); err != nil {
		f.t.Fatal(err)
	}
}

// lane is the stream that the load is published to.
const lane = "MAIL_SEND_NORMAL"

// stream asks the cluster for the state of a stream; nil if it gives none.
func (f *fleet) stream(name string) *jetstream.StreamInfo {
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Second)
	defer cancel()
	c, err := f.dial(ctx)
	if err != nil {
		return nil
	}
	defer c.Close()
	s, err := c.JS().Stream(ctx, name)
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}

// leader is the broker that leads the lane.
func (f *fleet) leader() (leader *node) {
	f.t.Helper()
	testrun.Eventually(f.t, "the lane has a leader", ready, func() bool {
		i := f.stream(lane)
		if i == nil || i.Cluster == nil {
			return false
		}
		for _, n := range f.nodes {
			if n.name == i.Cluster.Leader {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// whole waits until every broker says of itself that it has caught up with all
// of its streams and consumers.
func (f *fleet) whole() {
	f.t.Helper()
	for _, n := range f.nodes {
		testrun.Eventually(f.t, n.name+" has caught up", ready, func() bool {
			ok, err := probe(f.t.Context(), "http://"+net.JoinHostPort(f.host, strconv.Itoa(n.monitor))+"/healthz")
			return err == nil && ok
		})
	}
}

package fleet

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
)

// publish publishes a container's port. Over IPv4 alone: over both the engine
// may choose two different ones.
func publish(port string, at int) testcontainers.CustomizeRequestOption {
	return func(r *testcontainers.GenericContainerRequest) error {
		r.ExposedPorts = append(r.ExposedPorts, port)
		return testcontainers.WithHostConfigModifier(func(c *container.HostConfig) {
			c.PortBindings = network.PortMap{network.MustParsePort(port): {{HostIP: netip.IPv4Unspecified(), HostPort: strconv.Itoa(at)}}}
		})(r)
	}
}

// freePort is a port that nobody listens on, and that stays free until it is
// published, again and again: it is below those that kernel and engine give
// away by themselves.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

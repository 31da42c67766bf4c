package fleet

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
)

// publish publishes a container's ports at ours. Over IPv4 alone: over both the
// engine may choose two different ones.
func publish(ports map[string]int) testcontainers.CustomizeRequestOption {
	bindings := make(network.PortMap)
	for port, at := range ports {
		bindings[network.MustParsePort(port)] = []network.PortBinding{{HostIP: netip.IPv4Unspecified(), HostPort: strconv.Itoa(at)}}
	}
	return func(r *testcontainers.GenericContainerRequest) error {
		r.ExposedPorts = slices.AppendSeq(r.ExposedPorts, maps.Keys(ports))
		return testcontainers.WithHostConfigModifier(func(c *container.HostConfig) { c.PortBindings = bindings })(r)
	}
}

// probeFor is what a probe may take. Kubernetes allows a second; this machine
// has other work.
const probeFor = 5 * time.Second

// probe reports what a probe answers.
func probe(ctx context.Context, url string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false, err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return false, err
	}
	defer r.Body.Close()
	return r.StatusCode == http.StatusOK, nil
}

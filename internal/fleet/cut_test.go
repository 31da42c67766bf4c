package fleet

import (
	moby "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// cut takes a container off a network, with no word to anybody: its
// connections fall silent. mend puts it back under the same name.
func (f *fleet) cut(c *testcontainers.DockerContainer, n *testcontainers.DockerNetwork) {
	f.t.Helper()
	_, err := docker.provider.Client().NetworkDisconnect(f.t.Context(), n.ID, client.NetworkDisconnectOptions{Container: c.GetContainerID()})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) mend(c *testcontainers.DockerContainer, n *testcontainers.DockerNetwork, names ...string) {
	f.t.Helper()
	_, err := docker.provider.Client().NetworkConnect(f.t.Context(), n.ID, client.NetworkConnectOptions{
		Container: c.GetContainerID(), EndpointConfig: &moby.EndpointSettings{Aliases: names},
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

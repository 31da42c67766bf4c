package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"

	"github.com/postrider/postrider/internal/storm"
)

// label marks what a run of these tests has made, with a value of the run's own.
const label = "org.postrider.fleet"

// engine is the container engine, and what has been made there.
type engine struct {
	provider *testcontainers.DockerProvider
	run      string
}

// startEngine finds the engine; the error says that there is none.
func startEngine(ctx context.Context) (*engine, error) {
	// Its image would have to be pulled; remove does what it would.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	p, err := testcontainers.NewDockerProvider()
	if err != nil {
		return nil, fmt.Errorf("no container engine: %w", err)
	}
	e := &engine{p, uuid.NewString()}
	if err := p.Health(ctx); err != nil {
		return nil, fmt.Errorf("no container engine: %w", err)
	}
	return e, e.findPorts(ctx)
}

// findPorts tells testcontainers where published ports are found. In a container
// it takes the engine to be outside of it, which is wrong for one that shares
// our network.
func (e *engine) findPorts(ctx context.Context) error {
	if os.Getenv("TESTCONTAINERS_HOST_OVERRIDE") != "" {
		return nil
	}
	bridge, err := e.provider.Client().NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if err != nil {
		return nil //nolint:nilerr // another kind of engine, which testcontainers may know
	}
	if _, err := net.InterfaceByName(bridge.Network.Options["com.docker.network.bridge.name"]); err != nil {
		return nil //nolint:nilerr // the engine's bridge is not on our network
	}
	return os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
}

// image is one of those that are built for a run.
type image string

// The images. The newer one has a worker of other build tags, alone.
const (
	brokerImage image = "broker"
	relayImage  image = "relay"
	olderImage  image = "older"
	newerImage  image = "newer"
)

// programs is the image of Postrider's programs; parts that of one program.
const (
	programs = "FROM scratch\nCOPY worker publish mailq /usr/bin/\nCOPY --chown=65532:65532 data /data\n" +
		"ENV PATH=/usr/bin\nWORKDIR /data\nUSER 65532:65532\nENTRYPOINT [\"worker\"]\n"
	parts = "FROM scratch\nCOPY %[1]s /%[1]s\nENTRYPOINT [\"/%[1]s\"]\n"
)

func (e *engine) name(i image) string { return "postrider-fleet/" + string(i) + ":" + e.run }

func (e *engine) buildImages(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	worker := []string{"./cmd/worker", "./cmd/publish", "./cmd/mailq"}
	for _, b := range []struct {
		image      image
		dockerfile string
		tags       string
		programs   []string
	}{
		{brokerImage, fmt.Sprintf(parts, "nats-server"), "", []string{"github.com/nats-io/nats-server/v2"}},
		{relayImage, fmt.Sprintf(parts, "relay"), "", []string{"./internal/smtptest/relay"}},
		{olderImage, programs, workerTags, worker},
		{newerImage, fmt.Sprintf(parts, "worker"), "newer", worker[:1]},
	} {
		context := filepath.Join(dir, string(b.image))
		if err := os.MkdirAll(filepath.Join(context, "data"), 0o700); err != nil {
			return err
		}
		if err := storm.Build(filepath.Join("..", ".."), context, b.tags, b.programs...); err != nil {
			return err
		}
		if err := e.build(ctx, b.image, context, b.dockerfile); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) build(ctx context.Context, i image, dir, dockerfile string) error {
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return err
	}
	_, err := e.provider.BuildImage(ctx, &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		Context: dir, BuildLogWriter: io.Discard,
		BuildOptionsModifier: func(o *client.ImageBuildOptions) {
			o.Tags, o.Labels = []string{e.name(i)}, map[string]string{label: e.run}
			o.Remove, o.ForceRemove = true, true
		},
	}})
	if err != nil {
		return fmt.Errorf("build image %s: %w", i, err)
	}
	return nil
}

// remove removes all that bears the label of this run.
func (e *engine) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := e.provider.Client()
	mine := make(client.Filters).Add("label", label+"="+e.run)
	var errs []error
	containers, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	errs = append(errs, err)
	for _, x := range containers.Items {
		_, err := c.ContainerRemove(ctx, x.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		errs = append(errs, err)
	}
	networks, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: mine})
	errs = append(errs, err)
	for _, x := range networks.Items {
		_, err := c.NetworkRemove(ctx, x.ID, client.NetworkRemoveOptions{})
		errs = append(errs, err)
	}
	images, err := c.ImageList(ctx, client.ImageListOptions{Filters: mine})
	errs = append(errs, err)
	for _, x := range images.Items {
		_, err := c.ImageRemove(ctx, x.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// needEngine skips where there is none.
func needEngine(t *testing.T) {
	t.Helper()
	if docker == nil {
		t.Skip(errNoEngine)
	}
}

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

// The images. The newer one has programs of a later version.
const (
	brokerImage image = "broker"
	relayImage  image = "relay"
	olderImage  image = "older"
	newerImage  image = "newer"
)

func (e *engine) name(i image) string { return "postrider-fleet/" + string(i) + ":" + e.run }

var root = filepath.Join("..", "..")

func (e *engine) buildImages(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := storm.Newer(root, dir)
	if err != nil {
		return err
	}
	for i, fill := range map[image]func(dir string) error{
		brokerImage: single("nats-server", "github.com/nats-io/nats-server/v2"),
		relayImage:  single("relay", "./internal/smtptest/relay"),
		olderImage:  shipped(""),
		newerImage:  shipped("-overlay=" + overlay),
	} {
		dir := filepath.Join(dir, string(i))
		if err := fill(dir); err != nil {
			return err
		}
		if err := e.build(ctx, i, dir); err != nil {
			return err
		}
	}
	return nil
}

// shipped fills a directory with what the project's own image is built from.
func shipped(flag string) func(dir string) error {
	return func(dir string) error {
		fill := exec.Command("make", "context", "CONTEXT="+dir)
		fill.Dir = root
		fill.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" "+flag))
		if out, err := fill.CombinedOutput(); err != nil {
			return fmt.Errorf("make context: %w\n%s", err, out)
		}
		return nil
	}
}

// single fills a directory with what an image of one program is built from.
func single(name, program string) func(dir string) error {
	return func(dir string) error {
		if err := storm.Build(root, dir+string(filepath.Separator), nil, program); err != nil {
			return err
		}
		text := fmt.Sprintf("FROM scratch\nCOPY %[1]s /%[1]s\nENTRYPOINT [\"/%[1]s\"]\n", name)
		return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600)
	}
}

func (e *engine) build(ctx context.Context, i image, dir string) error {
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
	errs := []error{e.removeContainers(ctx, mine)}
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

// removeContainers removes those that match, and those that tests start meanwhile.
func (e *engine) removeContainers(ctx context.Context, mine client.Filters) error {
	c := e.provider.Client()
	for {
		containers, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
		if err != nil || len(containers.Items) == 0 {
			return err
		}
		var removing sync.WaitGroup // each takes a second or more
		for _, x := range containers.Items {
			removing.Go(func() {
				// What is left is in the next list.
				_, _ = c.ContainerRemove(ctx, x.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			})
		}
		removing.Wait()
	}
}

// needEngine skips the test if there is none.
func needEngine(t *testing.T) {
	t.Helper()
	if docker == nil {
		t.Skip(errNoEngine)
	}
}

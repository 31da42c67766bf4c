package k8s

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	core "k8s.io/api/core/v1"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/testrun"
)

// cluster is dev's NATS, started from its very files: three servers in one
// process, with ports and directories of their own.
type cluster struct {
	servers []*server.Server
	url     string
	log     violations
}

// violations is a log that keeps what was tried without leave: programs that
// wait for an answer that never comes do not always say so.
type violations struct {
	mu  sync.Mutex
	all []string
}

// Errorf implements [server.Logger], as do the others.
func (v *violations) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if line := fmt.Sprintf(format, args...); strings.Contains(line, "iolation") {
		v.all = append(v.all, line)
	}
}

// Noticef and the others pass over what is no violation.
func (*violations) Noticef(string, ...any) {}

// Warnf is as Noticef.
func (*violations) Warnf(string, ...any) {}

// Fatalf is as Noticef.
func (*violations) Fatalf(string, ...any) {}

// Debugf is as Noticef.
func (*violations) Debugf(string, ...any) {}

// Tracef is as Noticef.
func (*violations) Tracef(string, ...any) {}

// none: nothing was tried without leave so far.
func (v *violations) none(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, line := range v.all {
		t.Error(line)
	}
}

// startCluster starts it; edit may change the accounts first. It sets the
// environment, as Kubernetes would: no test beside it may be parallel.
func startCluster(t *testing.T, s *system, edit func(accounts string) string) *cluster {
	t.Helper()
	container, volumes := s.nats(t)
	for _, e := range container.EnvFrom {
		data, _ := s.secret(e.SecretRef.Name)
		for name, value := range data {
			t.Setenv(name, string(value))
		}
	}
	dir := t.TempDir()
	s.mount(t, dir, container, volumes)
	rewrite(t, filepath.Join(dir, "etc/nats/accounts/accounts.conf"), edit)

	c := &cluster{}
	var all []*server.Options
	var routes []*url.URL
	for i := range 3 {
		t.Setenv("POD_NAME", fmt.Sprintf("nats-%d", i))
		o, err := server.ProcessConfigFile(filepath.Join(dir, container.Args[1]))
		if err != nil {
			t.Fatal(err)
		}
		o.Host, o.Port, o.HTTPPort, o.NoSigs, o.NoLog = "127.0.0.1", freeport.Port(), 0, true, true
		o.StoreDir = filepath.Join(t.TempDir(), "nats")
		o.Cluster.Host, o.Cluster.Port = "127.0.0.1", freeport.Port()
		if len(o.Routes) != 3 {
			t.Fatalf("%d routes", len(o.Routes))
		}
		all = append(all, o)
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Cluster.Port))})
	}
	var urls []string
	for _, o := range all {
		o.Routes = routes
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", o.Port))
		x, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		x.SetLoggerV2(&c.log, false, false, false)
		x.Start()
		c.servers = append(c.servers, x)
	}
	c.url = strings.Join(urls, ",")
	t.Cleanup(c.stop)
	c.ready(t)
	return c
}

func (c *cluster) stop() {
	for _, s := range c.servers {
		s.Shutdown()
	}
	for _, s := range c.servers {
		s.WaitForShutdown()
	}
}

// ready waits for what dev's readiness probe asks.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	testrun.Eventually(t, "the cluster has a leader", time.Minute, func() bool {
		for _, s := range c.servers {
			if s.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
}

// nats is the container of the StatefulSet and what is mounted there.
func (s *system) nats(t *testing.T) (core.Container, []core.Volume) {
	t.Helper()
	for _, p := range s.pods() {
		if p.name == "StatefulSet nats" {
			return p.Spec.Containers[0], p.Spec.Volumes
		}
	}
	t.Fatal("there is no StatefulSet nats")
	return core.Container{}, nil
}

// mount writes ConfigMaps and Secrets below root, where the container has them.
func (s *system) mount(t *testing.T, root string, c core.Container, volumes []core.Volume) {
	t.Helper()
	for _, m := range c.VolumeMounts {
		for _, v := range volumes {
			if v.Name != m.Name {
				continue
			}
			if v.ConfigMap != nil {
				data, _ := s.configMap(v.ConfigMap.Name)
				for name, text := range data {
					write(t, filepath.Join(root, m.MountPath, name), text)
				}
			}
			if v.Secret != nil {
				data, _ := s.secret(v.Secret.SecretName)
				for name, text := range data {
					write(t, filepath.Join(root, m.MountPath, name), string(text))
				}
			}
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, file string, edit func(string) string) {
	t.Helper()
	if edit == nil {
		return
	}
	old := string(readFile(t, file))
	text := edit(old)
	if text == old {
		t.Fatal("the edit changes nothing")
	}
	write(t, file, text)
}

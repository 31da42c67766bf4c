package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"

	"github.com/postrider/postrider/internal/storm"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "postrider-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := storm.Build(filepath.Join("..", ".."), dir, nil, "./cmd/worker", "./cmd/publish", "./cmd/postrider"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		bin = dir
		return m.Run()
	}())
}

// environment is what the container has, with what is mounted below root.
func (s *system) environment(t *testing.T, d *apps.Deployment, root string, over map[string]string) map[string]string {
	t.Helper()
	c := d.Spec.Template.Spec.Containers[0]
	s.mount(t, root, c, d.Spec.Template.Spec.Volumes)
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		data, _ := s.configMap(from.ConfigMapRef.Name)
		maps.Copy(env, data)
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if e.ValueFrom != nil && e.ValueFrom.ResourceFieldRef != nil {
			limit := c.Resources.Limits[core.ResourceName(strings.TrimPrefix(e.ValueFrom.ResourceFieldRef.Resource, "limits."))]
			env[e.Name] = fmt.Sprint(limit.Value())
		}
	}
	for name, value := range env {
		for _, m := range c.VolumeMounts {
			if strings.HasPrefix(value, m.MountPath+"/") {
				env[name] = filepath.Join(root, value)
			}
		}
	}
	maps.Copy(env, over)
	return env
}

func list(env map[string]string) []string {
	all := []string{} // nil would be the environment of the tests
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

// run runs a program to its end.
func run(t *testing.T, env map[string]string, program string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Dir, cmd.Env = t.TempDir(), list(env)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// start starts a program; it is ended with the test.
func start(t *testing.T, env map[string]string, name, program string, args ...string) *storm.Process {
	t.Helper()
	p, err := storm.Start(name, t.TempDir(), list(env), filepath.Join(bin, program), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.End(syscall.SIGKILL) })
	return p
}

func awaitLine(t *testing.T, file, pattern string) []string {
	t.Helper()
	m, err := storm.Await(file, pattern, time.Minute)
	if err != nil {
		t.Fatalf("%v in\n%s", err, tail(readFile(t, file)))
	}
	return m
}

func tail(b []byte) []byte { return b[max(0, len(b)-4000):] }

// TestSettings: each variable of a worker's container is one that the worker
// knows, and it would start with them; base only lacks a relay.
func TestSettings(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		root := t.TempDir()
		for _, name := range []string{"nats-password", "smtp-password"} { // made apart, but for dev
			write(t, filepath.Join(root, "run/secrets/postrider", name), "x")
		}
		env := s.environment(t, s.worker(t), root, nil)
		out, stderr, status := run(t, env, "worker", "config", "--format", "json")
		if strings.HasPrefix(s.overlay, "base") {
			if status != 78 || !strings.HasPrefix(stderr, "worker: SMTP_URL: is not set") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("status %d: %s", status, stderr)
			}
		} else if status != 0 {
			t.Errorf("status %d: %s", status, stderr)
		}
		known := map[string]bool{}
		for line := range strings.Lines(out) {
			var v struct {
				Name   string
				Secret bool
			}
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatal(err)
			}
			known[v.Name], known[v.Name+"_FILE"] = true, v.Secret
		}
		for name := range env {
			if !known[name] {
				t.Errorf("the worker does not know %s", name)
			}
		}
	})
}

// get asks a worker's admin address.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

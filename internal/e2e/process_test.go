package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// These tests run the programs as they are built, as processes of their own,
// and kill them.

// programs are what is built, once.
var programs = []string{"./cmd/worker", "./cmd/publish", "./cmd/postrider", "./internal/smtptest/relay"}

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "postrider-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		testrun.OnAbort(func() { _ = os.RemoveAll(dir) })
		if err := storm.Build(filepath.Join("..", ".."), dir, nil, programs...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		bin = dir
		return testrun.Tests{M: m, AtOnce: 4}.Run()
	}())
}

// free reports whether an address can be listened on.
func free(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// world is a directory, its environment and the processes in it.
type world struct {
	t   *testing.T
	dir string
	env []string
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	base := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"NATS_LISTEN=" + freeport.Addr(), "POSTRIDER_ADMIN=127.0.0.1:0", "POSTRIDER_LOG_FORMAT=text",
	}
	return &world{t: t, dir: t.TempDir(), env: append(base, env...)}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// start starts a program; it is killed at the end of the test.
func (w *world) start(name, program string, args ...string) *storm.Process {
	w.t.Helper()
	p, err := storm.Start(name, w.dir, w.env, filepath.Join(bin, program), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.End(syscall.SIGKILL) })
	return p
}

// relay starts the scripted relay and gives SMTP_URL.
func (w *world) relay(name string, args ...string) (url string, p *storm.Process) {
	w.t.Helper()
	p = w.start(name, "relay", args...)
	m, err := storm.Await(p.Out, `listening on (\S+)`, 10*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	return "smtp://" + m[1] + "?tls=none", p
}

// worker starts a worker and waits until it says that it is there.
func (w *world) worker(name string) *storm.Process {
	w.t.Helper()
	p := w.start(name, "worker")
	if _, err := storm.Await(p.Out, `broker at nats://`, 20*time.Second); err != nil {
		b, _ := os.ReadFile(p.Err)
		w.t.Fatalf("%v\n%s", err, b)
	}
	return p
}

// set sets a variable for all that is started from now on.
func (w *world) set(name, value string) {
	for i, v := range w.env {
		if strings.HasPrefix(v, name+"=") {
			w.env[i] = name + "=" + value
			return
		}
	}
	w.env = append(w.env, name+"="+value)
}

// run runs a program to its end.
func (w *world) run(program string, args ...string) (stdout, stderr string, status int) {
	w.t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		w.t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func (w *world) await(file, pattern string, d time.Duration) []string {
	w.t.Helper()
	m, err := storm.Await(file, pattern, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run the programs as they are built, as processes of their own,
// and kill them.

// programs are what is built, once.
var programs = []string{"./cmd/worker", "./cmd/publish", "./cmd/mailq", "./internal/smtptest/relay"}

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "postrider-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", append([]string{"build", "-o", dir}, programs...)...)
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
			return 1
		}
		bin = dir
		return m.Run()
	}())
}

// process is a running program; its output is in files.
type process struct {
	cmd  *exec.Cmd
	out  string
	err  string
	done chan struct{}
}

// start runs a program of ours in dir until it ends or is killed.
func start(name, dir string, env []string, program string, args ...string) (*process, error) {
	p := &process{
		cmd: exec.Command(filepath.Join(bin, program), args...), done: make(chan struct{}),
		out: filepath.Join(dir, name+".out"), err: filepath.Join(dir, name+".err"),
	}
	p.cmd.Dir, p.cmd.Env = dir, env
	stdout, err := os.OpenFile(p.out, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.OpenFile(p.err, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// end sends a signal and waits for the end.
func (p *process) end(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(100 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end in 100 s after %v", p.cmd.Path, sig)
	}
}

// await reads a file until the pattern matches, and gives the match's groups.
func await(file, pattern string, d time.Duration) ([]string, error) {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(file)
		if err == nil {
			if m := re.FindStringSubmatch(string(b)); m != nil {
				return m, nil
			}
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(strings.TrimSuffix(file, ".out") + ".err")
			return nil, fmt.Errorf("%s: no match for %q in %s; it holds:\n%s\n%s", file, pattern, d, tail(b), tail(said))
		}
	}
}

func tail(b []byte) []byte {
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return b
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

// anyPorts are settings that keep a worker off the ports of its neighbours.
var anyPorts = []string{"NATS_LISTEN=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=text"}

// world is a directory, its environment and the processes in it.
type world struct {
	t   *testing.T
	dir string
	env []string
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	base := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	return &world{t: t, dir: t.TempDir(), env: append(append(base, anyPorts...), env...)}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// start starts a program; it is killed at the end of the test.
func (w *world) start(name, program string, args ...string) *process {
	w.t.Helper()
	p, err := start(name, w.dir, w.env, program, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.end(syscall.SIGKILL) })
	return p
}

// relay starts the scripted relay and gives SMTP_URL.
func (w *world) relay(name string, args ...string) (url string, p *process) {
	w.t.Helper()
	p = w.start(name, "relay", args...)
	m, err := await(p.out, `listening on (\S+)`, 10*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	return "smtp://" + m[1] + "?tls=none", p
}

// worker starts a worker and waits until it says that it is there. NATS_URL for
// the other programs is set from what it says.
func (w *world) worker(name string) *process {
	w.t.Helper()
	p := w.start(name, "worker")
	m, err := await(p.out, `broker at (nats://[^\s,]+)`, 20*time.Second)
	if err != nil {
		b, _ := os.ReadFile(p.err)
		w.t.Fatalf("%v\n%s", err, b)
	}
	w.set("NATS_LISTEN", strings.TrimPrefix(m[1], "nats://"))
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
	m, err := await(file, pattern, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

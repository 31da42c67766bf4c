package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/schema"
)

const (
	// sessions is SMTP_MAX_SESSIONS.
	sessions = "16"
	ready    = 30 * time.Second
)

// aWorker is a worker as built, with the embedded broker.
type aWorker struct {
	*storm.Process
	broker broker.Config
	admin  string
	// trace is the file of its syncs, if they are counted.
	trace string
}

// publishing publishes mails to a broker.
type publishing func(ctx context.Context, at broker.Config, mails []*schema.Envelope) error

// worker is the worker as built, with further settings.
func worker(name string, by publishing, env ...string) system {
	return system{name, func(b bench, dir, relay string, traced bool) (running, error) {
		w, err := b.startWorker(dir, relay, traced, env...)
		if err != nil {
			return running{}, err
		}
		publish := func(ctx context.Context, mails []*schema.Envelope) error { return by(ctx, w.broker, mails) }
		return running{publish, w.cost, w.end, w.kill, w.Out}, nil
	}}
}

func (b bench) startWorker(dir, relay string, traced bool, env ...string) (*aWorker, error) {
	w := &aWorker{broker: broker.DefaultConfig()}
	w.broker.Listen, w.broker.DataDir = freeport.Addr(), filepath.Join(dir, "data")
	args := []string{b.program}
	if traced {
		w.trace = filepath.Join(dir, "trace")
		args = append(strace(w.trace), b.program)
	}
	var err error
	w.Process, err = storm.Start("worker", dir, append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "NATS_LISTEN=" + w.broker.Listen, "POSTRIDER_DATA_DIR=" + w.broker.DataDir,
		"POSTRIDER_ADMIN=127.0.0.1:0", "SMTP_URL=smtp://" + relay + "?tls=none", "SMTP_MAX_SESSIONS=" + sessions,
	}, env...), args[0], args[1:]...)
	if err != nil {
		return nil, err
	}
	said, err := storm.Await(w.Out, `broker at nats://.*"admin":"([^"]+)"`, ready)
	if err != nil {
		w.kill()
		return nil, fmt.Errorf("the worker does not start: %w", err)
	}
	w.admin = said[1]
	return w, nil
}

func (w *aWorker) kill() { _ = w.End(syscall.SIGKILL) }

// cost is what a system has used since its start.
type cost struct {
	cpu    time.Duration
	fsyncs int
}

func (c cost) less(before cost) cost { return cost{c.cpu - before.cpu, c.fsyncs - before.fsyncs} }

// tick is the unit of the times in /proc, proc(5): 1/100 s on all Linux systems that Go
// runs on.
const tick = 10 * time.Millisecond

// used is the CPU time of a process, with that of its children that have ended if they
// count.
func used(pid int, children bool) (cpu time.Duration, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in brackets, is the second field and may have spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	times := fields[11:13] // utime and stime
	if children {
		times = fields[11:15]
	}
	for _, field := range times {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		cpu += time.Duration(n) * tick
	}
	return cpu, nil
}

func (w *aWorker) cost() (c cost, err error) {
	if c.fsyncs, err = w.fsyncs(); err == nil {
		c.cpu, err = used(w.Cmd.Process.Pid, false)
	}
	return c, err
}

// end stops it and is what it has cost. It settles what the relay has accepted first.
func (w *aWorker) end() (c cost, err error) {
	if err := w.End(syscall.SIGTERM); err != nil {
		return c, err
	}
	c.cpu = w.Cmd.ProcessState.UserTime() + w.Cmd.ProcessState.SystemTime()
	c.fsyncs, err = w.fsyncs()
	return c, err
}

func (w *aWorker) fsyncs() (int, error) {
	if w.trace == "" {
		return 0, nil
	}
	b, err := os.ReadFile(w.trace)
	return countSyncs(b), err
}

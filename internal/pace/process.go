package main

import (
	"bytes"
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
)

const (
	// sessions is SMTP_MAX_SESSIONS.
	sessions = "16"
	ready    = 30 * time.Second
)

// worker is a worker as built, with the embedded broker.
type worker struct {
	*storm.Process
	broker broker.Config
	// trace is the file of its syncs, if they are counted.
	trace string
}

func start(dir, program, relay string, traced bool) (*worker, error) {
	w := &worker{broker: broker.DefaultConfig()}
	w.broker.Listen, w.broker.DataDir = freeport.Addr(), filepath.Join(dir, "data")
	args := []string{program}
	if traced {
		w.trace = filepath.Join(dir, "trace")
		args = append(strace(w.trace), program)
	}
	var err error
	w.Process, err = storm.Start("worker", dir, []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "NATS_LISTEN=" + w.broker.Listen, "POSTRIDER_DATA_DIR=" + w.broker.DataDir,
		"POSTRIDER_ADMIN=127.0.0.1:0", "SMTP_URL=" + relay, "SMTP_MAX_SESSIONS=" + sessions,
	}, args[0], args[1:]...)
	if err != nil {
		return nil, err
	}
	if _, err := storm.Await(w.Out, `broker at nats://`, ready); err != nil {
		w.kill()
		return nil, fmt.Errorf("the worker does not start: %w", err)
	}
	return w, nil
}

// kill ends it if it still runs.
func (w *worker) kill() { _ = w.End(syscall.SIGKILL) }

// said is the end of its output.
func (w *worker) said() []byte {
	out, _ := os.ReadFile(w.Out)
	return out[max(0, len(out)-2000):]
}

// cost is what a worker has used since its start.
type cost struct {
	cpu    time.Duration
	fsyncs int
}

func (c cost) less(before cost) cost { return cost{c.cpu - before.cpu, c.fsyncs - before.fsyncs} }

// tick is the unit of the times in /proc, proc(5): 1/100 s on all Linux systems that Go
// runs on.
const tick = 10 * time.Millisecond

// cost is that of a worker that runs.
func (w *worker) cost() (c cost, err error) {
	if c.fsyncs, err = w.fsyncs(); err != nil {
		return c, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.Cmd.Process.Pid))
	if err != nil {
		return c, err
	}
	// The name of the program, in brackets, is the second field and may have spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			return c, err
		}
		c.cpu += time.Duration(n) * tick
	}
	return c, nil
}

// end stops it and is what it has cost. It settles what the relay has accepted first.
func (w *worker) end() (c cost, err error) {
	if err := w.End(syscall.SIGTERM); err != nil {
		return c, err
	}
	c.cpu = w.Cmd.ProcessState.UserTime() + w.Cmd.ProcessState.SystemTime()
	c.fsyncs, err = w.fsyncs()
	return c, err
}

func (w *worker) fsyncs() (int, error) {
	if w.trace == "" {
		return 0, nil
	}
	b, err := os.ReadFile(w.trace)
	return countSyncs(b), err
}

package app

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// machine names the processes among which a PID is unique: a container may share its
// host's name with others. It is empty if the system does not say.
func machine() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, err2 := os.Readlink("/proc/self/ns/pid")
	if errors.Join(err, err2) != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + space
}

// findPredecessors finds the workers of this machine that were killed: their entries would
// count as workers until they are silent for long enough. Entries that the broker should
// have removed are removed.
func (a *announcer) findPredecessors(ctx context.Context) {
	entries, err := a.store.Kept(ctx, wire.StreamState, wire.WorkerSubjects)
	for _, m := range entries {
		x, unknown := wire.DecodeWorker(m.Data)
		switch {
		case stream.Outlived(m, a.now()):
			err = errors.Join(err, a.store.Drop(ctx, m.Subject))
		case unknown == nil && a.replaces(x):
			a.Replaces = append(a.Replaces, x.ID)
		}
	}
	if err != nil {
		a.log.Debug("what is left of earlier workers at the broker was not read or removed", "error", err)
	}
}

// replaces reports that the worker ran on this machine and has ended.
func (a *announcer) replaces(x *wire.Worker) bool {
	if x.Machine == "" || x.Machine != a.Machine || x.PID == 0 {
		return false
	}
	p, err := os.FindProcess(x.PID)
	if err != nil {
		return false
	}
	defer p.Release() //nolint:errcheck // nothing depends on it
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

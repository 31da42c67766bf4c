package app

import (
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// TestPredecessors: a worker that was killed on this machine does not count any more when
// another one starts, one that runs beside it or elsewhere does. What a killed broker
// brought back is removed.
func TestPredecessors(t *testing.T) {
	t.Parallel()
	if machine() == "" {
		t.Skip("this system does not name its machine")
	}
	b := natstest.Start(t)
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	store := b.Conn.Store()
	write := func(w wire.Worker) {
		t.Helper()
		w.V, w.Host, w.State, w.Started = wire.WorkerVersion, "vm", wire.WorkerRunning, b.Conn.Now()
		body, err := w.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Keep(natstest.Within(t), w.Subject(), body, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	write(wire.Worker{ID: "killed", PID: ended.Process.Pid, Machine: machine()})
	write(wire.Worker{ID: "beside", PID: os.Getpid(), Machine: machine()})
	write(wire.Worker{ID: "elsewhere", PID: ended.Process.Pid, Machine: "another"})
	write(wire.Worker{ID: "unknown"})
	a := &announcer{Worker: wire.Worker{ID: "new", PID: os.Getpid(), Machine: machine()}, store: store, now: b.Conn.Now, log: slog.New(slog.DiscardHandler)}
	a.findPredecessors(natstest.Within(t))
	if !slices.Equal(a.Replaces, []string{"killed"}) {
		t.Errorf("replaces %v", a.Replaces)
	}
	write(a.Worker)
	q := queue.New(b.Conn.JS(), store, b.Conn.Now, b.Conn.Room)
	var running []string
	for _, w := range q.Workers(natstest.Within(t)).All {
		if !w.Lost {
			running = append(running, w.ID)
		}
	}
	if want := []string{"beside", "elsewhere", "new", "unknown"}; !slices.Equal(running, want) {
		t.Errorf("running are %v, want %v", running, want)
	}
	a.now = func() time.Time { return b.Conn.Now().Add(2 * time.Minute) }
	a.findPredecessors(natstest.Within(t))
	if left, err := store.Kept(natstest.Within(t), wire.StreamState, wire.WorkerSubjects); len(left) > 0 || err != nil {
		t.Errorf("%d are left, %v", len(left), err)
	}
}

package journal_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestEntries: what is recorded at the same time is entered at the same time. An entry that
// is there twice, because its worker died, is read once, however the log is read. Two records
// of one key are two entries, and so are records of two keys with one sequence.
func TestEntries(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j, l, now := journal.New(b.Conn.Store()), journal.NewLog(b.Conn.JS()), b.Conn.Now()
	const n = 40
	enter := func(id string, seq uint64) {
		k := keyAt(id, now, 1)
		if err := j.Enter(t.Context(), recordAt(k, 0, now), seq); err != nil {
			t.Error(err)
		}
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { enter(fmt.Sprint("m", i), uint64(i)) })
	}
	all.Wait()
	enter("m7", 7)
	enter("m8", 7)
	enter("m8", 99)
	s, err := b.Conn.JS().Stream(t.Context(), wire.StreamEvent)
	if err != nil || s.CachedInfo().State.Msgs != n+3 {
		t.Fatalf("%+v, %v", s.CachedInfo().State, err)
	}
	if got := len(names(t, journal.Filter{}, l)); got != n+2 {
		t.Errorf("%d entries were read, want %d", got, n+2)
	}
	got := ""
	ctx := natstest.Within(t)
	for r, err := range l.Tail(ctx, journal.Filter{ID: "m8"}, 2, true) {
		if err != nil {
			t.Fatal(err)
		}
		if got += r.ID + " "; r.ID == "m8" && strings.Count(got, "m8") == 3 {
			break
		}
		if strings.Count(got, "m8") == 2 {
			enter("m8", 99) // again
			enter("m8", 100)
		}
	}
	found := 0
	for r, err := range l.Search(t.Context(), journal.Filter{ID: "m8"}) {
		if err != nil || r.ID != "m8" {
			t.Errorf("%v, %v", r, err)
		}
		found++
	}
	if found != 4 { // 8, 7, 99, 100
		t.Errorf("%d entries of m8", found)
	}
}

// moody is a broker that says fail, or nothing while silent is set.
type moody struct {
	journal.Store

	mu      sync.Mutex
	silent  bool
	fail    error
	written int
}

func (s *moody) be(silent bool, fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent, s.fail = silent, fail
}

func (s *moody) Set(ctx context.Context, _ *nats.Msg, _ string, _ uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return 0, stream.ErrAway
	}
	if s.fail == nil {
		s.written++
	}
	return 1, s.fail
}

// TestMailDoesNotWaitForTheLog: entries are dropped and counted once the log has been silent
// for 30 s or has no room, until one that is tried now and then is answered.
func TestMailDoesNotWaitForTheLog(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		silent bool
		fail   error
		waits  time.Duration
	}{
		"silent":       {true, nil, 30 * time.Second},
		"no room":      {false, stream.ErrFull, 0},
		"not answered": {false, stream.ErrAway, 26 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, reg := &moody{}, prometheus.NewRegistry()
				var said strings.Builder
				j := journal.New(s).Report(slog.New(slog.NewTextHandler(&said, nil)), reg)
				enter := func() time.Duration {
					began := time.Now()
					k := keyAt("m", began, 1)
					if err := j.Enter(t.Context(), recordAt(k, 0, began), 1); err != nil {
						t.Error(err)
					}
					return time.Since(began)
				}
				counted := func(want float64, written int) {
					t.Helper()
					all, err := reg.Gather()
					if n := all[0].GetMetric()[0].GetCounter().GetValue(); err != nil || n != want || s.written != written {
						t.Errorf("%v dropped and %d written, want %v and %d", n, s.written, want, written)
					}
				}
				enter()
				counted(0, 1)
				s.be(x.silent, x.fail)
				if d := enter(); d > x.waits {
					t.Errorf("the first waited %s", d)
				}
				for range 5 {
					if d := enter(); d > 0 {
						t.Errorf("the others waited %s", d)
					}
				}
				counted(6, 1)
				time.Sleep(11 * time.Second)
				if d := enter(); d > time.Second {
					t.Errorf("the probe waited %s", d)
				}
				enter()
				counted(8, 1)
				s.be(false, nil)
				enter()
				counted(9, 1)
				time.Sleep(11 * time.Second)
				enter()
				enter()
				counted(9, 3)
				if n := strings.Count(said.String(), "\n"); n != 2 {
					t.Errorf("it was said %d times:\n%s", n, said.String())
				}
			})
		})
	}
}

// TestEnterIsStopped: a worker that is told to stop does not wait for the log.
func TestEnterIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(&moody{silent: true})
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		k := keyAt("m", time.Now(), 1)
		if err := j.Enter(ctx, recordAt(k, 0, time.Now()), 1); err == nil {
			t.Error("it was entered")
		}
	})
}

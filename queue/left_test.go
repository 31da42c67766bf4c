package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/wire"
)

// TestLeftInFlight: what a worker that was killed had in flight is told from mail that
// stands still, until ack wait is over. One message, published an hour ago, is in flight.
func TestLeftInFlight(t *testing.T) {
	t.Parallel()
	waits := func(w *wire.Worker) { w.AckWaitMS = 120_000 }
	started := func(ago time.Duration, found uint64) func(*wire.Worker) {
		return func(w *wire.Worker) { w.ID, w.Started, w.Found = "new", at.Add(-ago), found }
	}
	dead := func(ago time.Duration) *wire.Worker {
		return with(with(up("h1"), waits), func(w *wire.Worker) { w.At = at.Add(-ago) })
	}
	again := func(ago time.Duration, found uint64) *wire.Worker {
		return with(with(up("h1"), waits), started(ago, found))
	}
	for name, c := range map[string]struct {
		workers           *Workers
		words, mail, show string
		found             string // the finding about workers
	}{
		"found by the worker that started": {
			crew(again(48*time.Second, 3)), "1 (h1); 3 messages were in flight when h1 started, taken by a worker that ended: they come again within 1m12s (ack wait)",
			"ok 1 message ready, the oldest for 1h, all in flight; 3 messages were in flight when h1 started", "; 3 messages were in flight when h1 started", "ok 1 (h1); 3 messages",
		},
		"found one": {
			crew(again(48*time.Second, 1)), "1 (h1); 1 message was in flight when h1 started, taken by a worker that ended: it comes again within 1m12s (ack wait)",
			"ok 1 message ready", "1 message was in flight", "ok 1 (h1); 1 message",
		},
		"found, and ack wait is over": {
			crew(again(121*time.Second, 3)), "1 (h1)", "problem 1 message ready, the oldest for 1h, and nothing was settled within the last minute, though its workers run", "though its workers run", "ok 1 (h1)",
		},
		"started again on the same host": {
			crew(dead(48*time.Second), again(40*time.Second, 0)), "1 (h1)", "ok 1 message ready, the oldest for 1h, all in flight; what worker h1 had in flight comes again within 1m22s (ack wait)",
			"; what worker h1 had in flight comes again within 1m22s",
			"warning a worker (started " + Clock(at.Add(-time.Hour)) + ") ended without settling what it had in flight, and another one was started; what worker h1 had in flight comes again within 1m22s (ack wait) | look why it ended",
		},
		"started again, and ack wait is over": {
			crew(dead(131*time.Second), again(125*time.Second, 0)), "1 (h1)", "problem 1 message", "though its workers run", "ok 1 (h1)",
		},
		"killed, and another host has a worker": {
			crew(dead(48*time.Second), with(up("h2"), waits)), "1 (h2)", "ok 1 message ready, the oldest for 1h, all in flight; what worker h1 had", "though its workers run", "warning worker h1 has not been heard of",
		},
	} {
		l := Lane{Lane: "normal", InFlight: 1, Oldest: at.Add(-time.Hour), workers: c.workers}
		lanes := []Lane{l}
		if got := c.workers.Words(lanes, at); got != c.words {
			t.Errorf("%s: workers: %s, want %s", name, got, c.words)
		}
		for what, x := range map[string]struct {
			f    Finding
			want string
		}{"mail": {l.Judge(at), c.mail}, "workers": {c.workers.Judge(lanes, at)[0], c.found}} {
			if got := string(x.f.Level) + " " + x.f.Found + " | " + x.f.Do; !strings.HasPrefix(got, x.want) {
				t.Errorf("%s: %s: %s, want %s", name, what, got, x.want)
			}
		}
		if got := message(InFlight, 0).next(at, &l); !strings.Contains(got, c.show) {
			t.Errorf("%s: show says %q, want %q", name, got, c.show)
		}
		l.InFlight = 0
		for _, f := range c.workers.Judge([]Lane{l}, at) {
			if strings.Contains(f.Found, "ended") {
				t.Errorf("%s: nothing is in flight, and it says %q", name, f.Found)
			}
		}
	}
	l := Lane{Lane: "normal", InFlight: 1, Waiting: 1, Oldest: at.Add(-time.Hour), workers: crew(again(48*time.Second, 3))}
	if f := l.Judge(at); f.Level != Problem {
		t.Errorf("mail that was not in flight waits: %+v", f)
	}
}

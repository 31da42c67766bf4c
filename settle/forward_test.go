package settle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestDeadLettersAreNamedByKey: two recipients who fail at different attempts
// do not overwrite each other.
func TestDeadLettersAreNamedByKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.PublishWith("m", `,"max_attempts":3`, "ann@example.net", "450@example.net", "550@example.net")
	b.Settled()
	got := map[string]mail.Reason{}
	for _, l := range b.Dead() {
		got[l.Key.Recipient] = l.Reason
	}
	if len(got) != 2 || got["1"] != mail.ReasonExhausted || got["2"] != mail.ReasonFailed {
		t.Errorf("dead: %v", got)
	}
}

// TestCopyTooLarge: a message that the broker does not take back with its
// history is dead-lettered, and its replay arrives.
func TestCopyTooLarge(t *testing.T) {
	t.Parallel()
	for _, to := range [][]string{{"450x1@a.example"}, {"ann@a.example", "450x1@b.example"}, {"ann@a.example", "450x1@b.example", "451x1@c.example"}} {
		t.Run(fmt.Sprint(len(to)), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			b.Refuse.Set(wb.Times(2, "mail.copy.", fmt.Errorf("%w: 10054", stream.ErrTooLarge)))
			b.Publish("m", to...)
			if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			dead := b.Dead()
			if len(dead) != max(1, len(to)-1) || dead[0].Reason != mail.ReasonTooLarge {
				t.Fatalf("dead: %+v", dead)
			}
			if rec := b.record(dead[0].Key.Together()); rec == nil || rec.Has(wire.StateScheduled) {
				t.Errorf("the record does not say that they are dead: %+v", rec)
			}
			b.Refuse.Set(nil)
			for _, l := range dead {
				if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
					t.Fatal(err)
				}
			}
			b.Work(nil)
			b.Settled()
			for _, a := range to {
				b.Accepted("m", map[string]int{a: 1})
			}
		})
	}
}

// TestReplayBesideRedelivery: the dead letter is replayed and delivered before the
// original comes back, whose worker died between dead letter and ack.
func TestReplayBesideRedelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "forwarded"}
	stop := b.Work(d)
	b.Publish("m", "550x1@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	dead := b.Dead()
	if len(dead) != 1 {
		t.Fatalf("dead letters: %v", dead)
	}
	for range 3 {
		if err := b.Graves.Replay(t.Context(), dead[0], 5); err != nil && !errors.Is(err, deadletter.ErrSettled) {
			t.Fatal(err)
		}
	}
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"550x1@example.net": 1})
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead again: %+v", dead[0].DeadLetter)
	}
}

// TestReplayerDies at each point of its way. The dead letter goes out once, whether
// somebody asks again or, from the copy on, nobody does.
func TestReplayerDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at    string
		again bool
	}{{"record", true}, {"recorded", true}, {"forwarded", true}, {"forwarded", false}} {
		t.Run(fmt.Sprintf("%s, again %v", c.at, c.again), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stop := b.Work(nil)
			b.Publish("m", "550x1@example.net")
			b.Eventually("the dead letter is dead", func() bool { return len(b.Dead()) == 1 })
			stop()
			l := b.Dead()[0]
			d := &wb.Death{At: c.at}
			if err := b.Replayer(d).Replay(t.Context(), l, 5); err == nil || !d.IsDead() {
				t.Fatalf("the replayer lives: %v", err)
			}
			if c.again {
				if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
					t.Fatal(err)
				}
			}
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"550x1@example.net": 1})
			if dead := b.Dead(); len(dead) > 0 {
				t.Errorf("it is still dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

func TestReplayFailsAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.Publish("m", "ann@example.net", "550@example.net")
	for round := 1; round <= 5; round++ {
		b.Eventually("the dead letter is dead", func() bool { d := b.Dead(); return len(d) == 1 && d[0].Replays == round-1 })
		if err := b.Graves.Replay(t.Context(), b.Dead()[0], 5); err != nil {
			t.Fatal(err)
		}
	}
	b.Eventually("the dead letter is dead", func() bool { d := b.Dead(); return len(d) == 1 && d[0].Replays == 5 })
	l := b.Dead()[0]
	if err := b.Graves.Replay(t.Context(), l, 5); !errors.Is(err, deadletter.ErrTooOften) {
		t.Errorf("the sixth replay: %v", err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	if len(l.Log) != 6 || l.Attempts != 1 {
		t.Errorf("%d attempts in the log, %d counted since the last replay", len(l.Log), l.Attempts)
	}
}

// TestReplayWhileScheduled: a dead letter is replayed while an earlier copy of the
// same key still waits. That copy is the replay.
func TestReplayWhileScheduled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.RetryAfter = []time.Duration{time.Second}
	b.Work(nil)
	b.Publish("m", "550x1@example.net")
	b.Eventually("the dead letter is dead", func() bool { return len(b.Dead()) == 1 })
	l := b.Dead()[0]
	b.Relay.SetDown(true) // so that the copy stays where it is
	for range 5 {
		err := b.Graves.Replay(t.Context(), l, 5)
		if err != nil && !errors.Is(err, deadletter.ErrSettled) {
			t.Fatal(err)
		}
	}
	if n := b.Queued(); n != 1 {
		t.Errorf("%d copies, want 1", n)
	}
	b.Relay.SetDown(false)
	b.Settled()
	b.Accepted("m", map[string]int{"550x1@example.net": 1})
}

// TestLargestBodyToThree: deferred, buried and replayed, complete each time.
func TestLargestBodyToThree(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	text := strings.Repeat(" ", 8<<20-65<<10-512) // JSON may hold it, and the mail stays small
	id := strings.Repeat("i", 200)
	b.PublishWith(id, `,"max_attempts":2`+text, "ann@example.net", "450@example.net", "550x1@example.net")
	b.Eventually("two are dead", func() bool { return b.Queued() == 0 && len(b.Dead()) == 2 })
	for _, l := range b.Dead() {
		if len(l.Body) < len(text) {
			t.Errorf("the dead letter of %s has %d bytes", l.Key, len(l.Body))
		}
		if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
			t.Fatal(err)
		}
	}
	b.Settled()
	b.Accepted(id, map[string]int{"ann@example.net": 1, "550x1@example.net": 1})
}

// TestSendAt: a mail for later goes out then, and not before.
func TestSendAt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	due := b.Conn.Now().Add(1500 * time.Millisecond)
	var sent time.Time
	b.Relay.Hold = func(mail.Message) { sent = b.Conn.Now() }
	b.PublishWith("m", fmt.Sprintf(`,"send_at":%q`, due.Format(time.RFC3339Nano)), "ann@example.net")
	b.PublishWith("expired", fmt.Sprintf(`,"expires_at":%q`, due.Add(-time.Hour).Format(time.RFC3339Nano)), "ann@example.net")
	b.Settled()
	if late := sent.Sub(due); late < 0 || late > time.Second {
		t.Errorf("sent %s after it was due", late)
	}
	if dead := b.Dead(); len(dead) != 1 || dead[0].Reason != mail.ReasonExpired || !strings.HasPrefix(dead[0].Error, "it was to be sent until ") {
		t.Errorf("dead letters: %+v", dead)
	}
}

// TestExpiredSaysWhy: the dead letter of a mail that was put off until it expired has what
// the relay said last.
func TestExpiredSaysWhy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.Worker(nil)
	w.Settle.Relay = outOfTurn().before(w.Settle.Relay, 1<<30)
	b.Run(b.Make(w), nil)
	b.PublishWith("m", fmt.Sprintf(`,"expires_at":%q`, b.Conn.Now().Add(time.Second).Format(time.RFC3339Nano)), "ann@example.net")
	b.Settled()
	dead := b.Dead()
	if len(dead) == 0 || dead[0].Reason != mail.ReasonExpired || !strings.Contains(dead[0].Error, "; at last: 503 ") {
		t.Errorf("dead letters: %+v", dead[0].DeadLetter)
	}
}

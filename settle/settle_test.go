package settle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/settle"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

func TestFates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.Publish("one", "ann@example.net")
	b.Publish("two", "451x2@example.net")
	b.Publish("three", "550@example.net")
	b.Publish("mixed", "bob@example.net", "450x1@example.net", "551@example.net")
	b.Publish("lost", "lost@example.net")
	b.Publish("fault", "421x3@example.net")
	b.Settled()
	b.Accepted("one", map[string]int{"ann@example.net": 1})
	b.Accepted("two", map[string]int{"451x2@example.net": 1})
	b.Accepted("three", map[string]int{"550@example.net": 0})
	b.Accepted("mixed", map[string]int{"bob@example.net": 1, "450x1@example.net": 1, "551@example.net": 0})
	b.Accepted("lost", map[string]int{"lost@example.net": 2})
	b.Accepted("fault", map[string]int{"421x3@example.net": 1})
	dead := b.Dead()
	if len(dead) != 2 {
		t.Fatalf("%d dead letters, want 2: %v", len(dead), dead)
	}
	for _, l := range dead {
		want := map[string]string{"three": wire.All, "mixed": "2"}[l.Key.ID]
		if l.Key.Recipient != want || l.Reason != mail.ReasonFailed || l.Error != "551 5.1.1 no such user" && l.Error != "550 5.1.1 no such user" || len(l.Log) != 1 {
			t.Errorf("dead letter: %+v", l.DeadLetter)
		}
	}
	rec, _, err := b.journal().Lookup(t.Context(), b.keyOf("two"))
	if err != nil || rec == nil {
		t.Fatalf("record of two: %v %v", rec, err)
	}
	if rec.Counted != 3 || len(rec.Attempts) != 3 || rec.Generation != 2 || rec.Event != wire.EventDelivered {
		t.Errorf("record of two: %+v", rec)
	}
}

// TestKilledAtEachStep ends a worker at each point of the way, and another one
// continues. Sent again is only what was accepted and not recorded.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at    string
		nth   int
		again int // how often A is accepted
	}{
		{"lookup", 0, 1},
		{"attempted", 0, 2},
		{"record", 0, 2},
		{"recorded", 0, 1},
		{"forwarded", 0, 1},
		{"forwarded", 1, 1},
	} {
		t.Run(fmt.Sprintf("%s-%d", c.at, c.nth), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := &wb.Death{At: c.at, Nth: c.nth}
			stop := b.Work(d)
			b.Publish("m", "ann@example.net", "450x2@example.net", "550@example.net")
			b.Eventually("the worker dies", d.IsDead)
			stop()
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"ann@example.net": c.again, "450x2@example.net": 1, "550@example.net": 0})
			if dead := b.Dead(); len(dead) != 1 || dead[0].Key.Recipient != "2" {
				t.Errorf("dead letters: %v", dead)
			}
		})
	}
}

// TestKilledAroundRequeue ends a worker around the record of a first requeue, and around
// the one that follows it.
func TestKilledAroundRequeue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at    string
		nth   int
		again int
	}{
		{"record", 0, 1},
		{"recorded", 0, 1},
		{"lookup", 1, 1},
		{"attempted", 0, 2}, // of the second attempt: the fault does not come from that relay
		{"record", 1, 2},
		{"recorded", 1, 1},
		{"forwarded", 0, 1},
	} {
		t.Run(fmt.Sprintf("%s-%d", c.at, c.nth), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := &wb.Death{At: c.at, Nth: c.nth}
			w := b.Worker(d)
			w.Settle.Relay = outOfTurn().before(w.Settle.Relay, 1)
			stop := b.Run(b.Make(w), d)
			b.Publish("m", "ann@example.net", "450x2@example.net", "550@example.net")
			b.Eventually("the worker dies", d.IsDead)
			stop()
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"ann@example.net": c.again, "450x2@example.net": 1, "550@example.net": 0})
			if dead := b.Dead(); len(dead) != 1 || dead[0].Key.Recipient != "2" {
				t.Errorf("dead letters: %v", dead)
			}
		})
	}
}

func TestLargePartiallyDeferred(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	var to []string
	want := map[string]int{}
	for i := range 1000 {
		a := fmt.Sprintf("r%d@example.net", i)
		if i%125 == 7 {
			a = fmt.Sprintf("450x1@d%d.example.net", i)
		}
		to = append(to, a)
		want[a] = 1
	}
	b.Publish("many", to...)
	b.Settled()
	b.Accepted("many", want)
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %v", dead)
	}
}

func TestHundredAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.RetryAfter = []time.Duration{time.Millisecond}
	b.Work(nil)
	b.PublishWith("long", `,"max_attempts":100`, "451x99@example.net")
	b.PublishWith("longer", `,"max_attempts":100`, "452x1000@example.org")
	b.Settled()
	b.Accepted("long", map[string]int{"451x99@example.net": 1})
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonExhausted || dead[0].Attempts != 100 {
		t.Fatalf("dead letters: %+v", dead)
	}
	deferred := 0
	for _, class := range b.Relay.Told("longer 452x1000@example.org") {
		if class == mail.Deferred { // not what was requeued because the machine stood still
			deferred++
		}
	}
	if deferred != 100 {
		t.Errorf("%d attempts, want 100", deferred)
	}
	if log := dead[0].Log; log[0].N != 1 || log[len(log)-1].N != 100 {
		t.Errorf("the log goes from %d to %d", log[0].N, log[len(log)-1].N)
	}
}

func TestBadEnvelopeNamesTheFieldAndKeepsTheBytes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	body := []byte(`{"from":"a@example.com","to":["b@example.net"],"text":"","sbuject":"x"}`)
	if _, err := b.Conn.JS().Publish(t.Context(), lane.SendSubject(), body, jetstream.WithMsgID("the-id")); err != nil {
		t.Fatal(err)
	}
	b.Publish("neighbour", "ann@example.net")
	b.Settled()
	b.Accepted("neighbour", map[string]int{"ann@example.net": 1})
	dead := b.Dead()
	if len(dead) != 1 || string(dead[0].Body) != string(body) || dead[0].Reason != mail.ReasonBadEnvelope ||
		dead[0].Error != "sbuject: unknown field" || dead[0].Key.ID != "the-id" {
		t.Errorf("dead letters: %+v", dead)
	}
}

func TestTwoPublishesOfOneID(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.Publish("same", "451x1@example.net")
	b.Publish("same", "451x1@example.net")
	b.Settled()
	b.Accepted("same", map[string]int{"451x1@example.net": 2})
}

// TestStrandedMailKeepsItsTime: mail that is not to go before a time does not go
// before it, however it came to be replayed.
func TestStrandedMailKeepsItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	b.PublishWith("embargo", `,"send_at":"`+at.Format(time.RFC3339)+`"`, "ann@example.net")
	b.Exhaust()
	b.PublishWith("unread", `,"send_at":"`+at.Format(time.RFC3339)+`"`, "ann@example.net")
	h := b.pullFresh(w)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonCrashLoop {
		t.Fatalf("%d dead letters", len(dead))
	}
	if err := b.Graves.Replay(t.Context(), dead[0], 5); err != nil {
		t.Fatal(err)
	}
	b.Work(nil)
	b.Eventually("both are scheduled for their time", func() bool {
		n := 0
		for _, id := range []string{"embargo", dead[0].Key.ID} { // whose body was not read
			records, err := journal.New(b.Store).Records(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if r.Event == wire.EventScheduled && r.Due.Equal(at) {
					n++
				}
			}
		}
		return n == 2
	})
	b.Accepted("embargo", map[string]int{"ann@example.net": 0})
	b.Accepted("unread", map[string]int{"ann@example.net": 0})
}

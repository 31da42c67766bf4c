package consumer

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

func TestFates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.work(nil)
	b.publish("one", "ann@example.net")
	b.publish("two", "451x2@example.net")
	b.publish("three", "550@example.net")
	b.publish("mixed", "bob@example.net", "450x1@example.net", "551@example.net")
	b.publish("lost", "lost@example.net")
	b.publish("fault", "421x3@example.net")
	b.settled()
	b.accepted("one", map[string]int{"ann@example.net": 1})
	b.accepted("two", map[string]int{"451x2@example.net": 1})
	b.accepted("three", map[string]int{"550@example.net": 0})
	b.accepted("mixed", map[string]int{"bob@example.net": 1, "450x1@example.net": 1, "551@example.net": 0})
	b.accepted("lost", map[string]int{"lost@example.net": 2})
	b.accepted("fault", map[string]int{"421x3@example.net": 1})
	dead := b.dead()
	if len(dead) != 2 {
		t.Fatalf("%d dead letters, want 2: %v", len(dead), dead)
	}
	for _, l := range dead {
		want := map[string]string{"three": wire.All, "mixed": "2"}[l.Key.ID]
		if l.Key.Recipient != want || l.Reason != mail.ReasonFailed || l.Error != "551 5.1.1 no such user" && l.Error != "550 5.1.1 no such user" || len(l.Log) != 1 {
			t.Errorf("dead letter: %+v", l.DeadLetter)
		}
	}
	rec, _, err := b.parts0().Journal.Lookup(t.Context(), b.lineOf("two"))
	if err != nil || rec == nil {
		t.Fatalf("record of two: %v %v", rec, err)
	}
	if rec.Counted != 3 || len(rec.Attempts) != 3 || rec.Generation != 2 || rec.Event != wire.EventDelivered {
		t.Errorf("record of two: %+v", rec)
	}
}

// parts0 are a worker's parts that never die.
func (b *bench) parts0() Parts {
	p, _ := b.parts(nil)
	return p
}

// lineOf finds the line of a message by the log that people read.
func (b *bench) lineOf(id string) wire.Key {
	b.t.Helper()
	l := wire.Key{Lane: lane, ID: id, Recipient: wire.All}
	b.eventually("an entry of "+id, func() bool {
		m, err := b.store.Last(b.t.Context(), wire.StreamRecord, "mail.record."+string(lane)+"."+mail.Token(id)+".*.all")
		if err != nil {
			return false
		}
		r, err := wire.DecodeRecord(m.Data)
		l.Origin = r.Origin
		return err == nil
	})
	return l
}

// TestKilledAtEachStep ends a worker at each point of the way and lets another
// one go on. Sent again is only what was accepted and not recorded.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at    string
		nth   int
		again int // how often A is accepted
	}{
		{"look", 0, 1},
		{"attempted", 0, 2},
		{"record", 0, 2},
		{"recorded", 0, 1},
		{"carried", 0, 1},
		{"carried", 1, 1},
	} {
		t.Run(fmt.Sprintf("%s-%d", c.at, c.nth), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := &death{at: c.at, nth: c.nth}
			stop := b.work(d)
			b.publish("m", "ann@example.net", "450x2@example.net", "550@example.net")
			b.eventually("the worker dies", d.isDead)
			stop()
			b.work(nil)
			b.settled()
			b.accepted("m", map[string]int{"ann@example.net": c.again, "450x2@example.net": 1, "550@example.net": 0})
			if dead := b.dead(); len(dead) != 1 || dead[0].Key.Recipient != "2" {
				t.Errorf("dead letters: %v", dead)
			}
		})
	}
}

func TestLargePartiallyDeferred(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.work(nil)
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
	b.publish("many", to...)
	b.settled()
	b.accepted("many", want)
	if dead := b.dead(); len(dead) > 0 {
		t.Errorf("dead letters: %v", dead)
	}
}

func TestHundredAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.RetryAfter = Durations{time.Millisecond}
	b.work(nil)
	b.publishWith("long", `,"max_attempts":100`, "451x99@example.net")
	b.publishWith("longer", `,"max_attempts":100`, "452x1000@example.org")
	b.settled()
	b.accepted("long", map[string]int{"451x99@example.net": 1})
	dead := b.dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonExhausted || dead[0].Attempts != 100 {
		t.Fatalf("dead letters: %+v", dead)
	}
	deferred := 0
	for _, class := range b.books.told["longer 452x1000@example.org"] {
		if class == mail.Deferred { // not what was handed back because the machine stood still
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
	b.work(nil)
	body := []byte(`{"from":"a@example.com","to":["b@example.net"],"text":"","sbuject":"x"}`)
	if _, err := b.conn.Publish(t.Context(), lane, "the-id", nil, body); err != nil {
		t.Fatal(err)
	}
	b.publish("neighbour", "ann@example.net")
	b.settled()
	b.accepted("neighbour", map[string]int{"ann@example.net": 1})
	dead := b.dead()
	if len(dead) != 1 || string(dead[0].Body) != string(body) || dead[0].Reason != mail.ReasonBadEnvelope ||
		dead[0].Error != "sbuject: unknown field" || dead[0].Key.ID != "the-id" {
		t.Errorf("dead letters: %+v", dead)
	}
}

func TestTwoPublishesOfOneID(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.work(nil)
	b.publish("same", "451x1@example.net")
	b.publish("same", "451x1@example.net")
	b.settled()
	b.accepted("same", map[string]int{"451x1@example.net": 2})
}

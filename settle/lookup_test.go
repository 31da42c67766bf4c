package settle_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// TestFirstDeliveryIsLookedUpToo: a killed broker forgets deliveries, so a
// message that comes for the first time may have been settled.
func TestFirstDeliveryIsLookedUpToo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "recorded"}
	stop := b.Work(d)
	b.Publish("m", "ann@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	b.Broker.Kill(t)
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

// TestLateRedelivery: a worker died between record and ack, and everything
// stood still until the record had expired. The log still knows.
func TestLateRedelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "recorded"}
	stop := b.Work(d)
	b.Publish("m", "ann@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	b.forgetRecords(b.keyOf("m"))
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

// TestEarlierGeneration: a message whose key has gone further, in a copy or a dead
// letter, was settled before and brought back. It is acked, however often it was
// delivered: it is neither sent nor buried, and the record stays as it is.
func TestEarlierGeneration(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	for _, state := range []wire.State{wire.StateScheduled, wire.StateDead} {
		for _, delivered := range []int{1, 2, settle.CrashLoop} {
			id := fmt.Sprintf("%s-%d", state, delivered)
			b.Publish(id, "ann@example.net")
			h := b.pullFresh(w)
			h.Times = delivered
			read := twin(h)
			read.Read()
			further := read.Draft(time.Now())
			further.Generation = 1
			further.SetPending(state, "")
			further.Conclude()
			if _, err := w.Journal.Set(t.Context(), further.Key(), further, 0, false); err != nil {
				t.Fatal(err)
			}
			if err := w.settle(t.Context(), h); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			b.Accepted(id, map[string]int{"ann@example.net": 0})
			if rec, _, err := w.Journal.Lookup(t.Context(), read.Key()); err != nil || rec.Generation != 1 || !rec.Has(state) {
				t.Errorf("%s: the record of its key has become %+v, %v", id, rec, err)
			}
		}
	}
	if n, dead := b.Queued(), b.Dead(); n > 0 || len(dead) > 0 {
		t.Errorf("%d in the queue, %d dead letters", n, len(dead))
	}
}

// ghost publishes a mail and records for its key that it was delivered. The delivery
// that it returns knows nothing of that.
func (b *bench) ghost(w *worker, brief bool) (*settle.Delivery, wire.Key) {
	b.T.Helper()
	b.Publish("ghost", "bob@example.net")
	h := b.pullFresh(w)
	read := twin(h)
	read.Read()
	if _, err := w.Journal.Set(b.T.Context(), read.Key(), ghostRecord(read), 0, brief); err != nil {
		b.T.Fatal(err)
	}
	return h, read.Key()
}

func ghostRecord(h *settle.Delivery) *wire.Record {
	rec := h.Draft(time.Now())
	rec.SetPending(wire.StateDelivered, "")
	rec.Conclude()
	return rec
}

// TestGhostWithoutARecord: a killed broker brings back what was settled so long
// ago that its record has expired. The log still knows, and it is neither sent
// nor buried.
func TestGhostWithoutARecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	h, l := b.ghost(w, true)
	b.forgetRecords(l)
	_ = h.Handle.Requeue(0)
	b.Exhaust()
	b.Work(nil)
	b.Settled()
	b.Accepted("ghost", map[string]int{"bob@example.net": 0})
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead[0].DeadLetter)
	}
}

// TestGhostThatIsNotRead: the same for one that was delivered so often that
// nobody reads it, and so nobody knows its id.
func TestGhostThatIsNotRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	h, l := b.ghost(w, true)
	b.forgetRecords(l)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	b.Settled()
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead[0].DeadLetter)
	}
}

// forgetRecords lets all records expire once the log has that key's.
func (b *bench) forgetRecords(l wire.Key) {
	b.T.Helper()
	b.Eventually("the log has the entry", func() bool {
		_, err := b.Store.Last(b.T.Context(), wire.StreamEvent, l.EventSubject())
		return err == nil
	})
	s, err := b.Conn.JS().Stream(b.T.Context(), wire.StreamRecord)
	if err != nil {
		b.T.Fatal(err)
	}
	if err := s.Purge(b.T.Context()); err != nil {
		b.T.Fatal(err)
	}
}

// TestNewerRecord: a worker leaves a message whose record it does not understand, be
// it in MAIL_RECORD or only in the log. It neither sends the message nor acks it.
func TestNewerRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	for name, newer := range map[string]func(*wire.Record){
		"version":  func(r *wire.Record) { r.V = wire.RecordVersion + 1 },
		"state":    func(r *wire.Record) { r.Recipients[0].State = "parked" },
		"together": func(r *wire.Record) { r.Together = "parked" },
	} {
		for _, logged := range []bool{false, true} {
			id := fmt.Sprintf("%s-%t", name, logged)
			b.Publish(id, "ann@example.net")
			d := b.pullFresh(w)
			d.Times = 2 // so that the log is searched
			read := twin(d)
			read.Read()
			rec := read.Draft(time.Now())
			rec.SetPending(wire.StateDelivered, "")
			rec.Conclude()
			newer(rec)
			if _, err := w.Journal.Set(t.Context(), rec.Key(), rec, 0, false); err != nil {
				t.Fatal(err)
			}
			if logged {
				b.forgetRecords(rec.Key())
			}
			before := b.Queued()
			if err := w.settle(t.Context(), d); !errors.Is(err, wire.ErrNewer) {
				t.Errorf("%s: %v, want ErrNewer", id, err)
			}
			if n := b.Queued(); n != before {
				t.Errorf("%s: %d messages in the queue, before %d", id, n, before)
			}
			b.Accepted(id, map[string]int{"ann@example.net": 0})
		}
	}
}

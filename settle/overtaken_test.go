package settle_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// beaten is a journal in which somebody else does something just before the first
// record is written.
type beaten struct {
	settle.Journal
	first func()
}

func (j *beaten) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if first := j.first; first != nil {
		j.first = nil
		first()
	}
	return j.Journal.Set(ctx, k, r, expected, brief)
}

// beatenAt makes the worker come second to what first does.
func (b *bench) beatenAt(w *worker, first func()) *worker {
	w.Journal = &beaten{w.Journal, first}
	return w
}

// overwrite replaces the last record of the delivery's key by that of another
// worker, which says that of the recipients in that order.
func (b *bench) overwrite(d *settle.Delivery, generation int, states ...wire.State) {
	b.T.Helper()
	read := twin(d)
	read.Read()
	rec := read.Draft(time.Now())
	rec.Generation = generation
	for i, s := range states {
		rec.Recipients[i].State = s
	}
	rec.Due = time.Now().Add(-time.Minute)
	rec.Attempts = append(rec.Attempts, wire.Attempt{N: 1, Session: "another's", At: time.Now()})
	if rec.Has(wire.StatePending) {
		rec.Event = wire.EventDeferred
	} else {
		rec.Conclude()
	}
	j := b.journal()
	_, seq, err := j.Lookup(b.T.Context(), rec.Key())
	if err == nil {
		_, err = j.Set(b.T.Context(), rec.Key(), rec, seq, false)
	}
	if err != nil {
		b.T.Fatal(err)
	}
}

// due publishes a mail and gives its copy of that generation, which has failed for
// now until then.
func (b *bench) due(w *worker, generation int, to ...string) *settle.Delivery {
	b.T.Helper()
	b.Publish("m", to...)
	for d := b.pullFresh(w); ; d = b.pullDue(w) {
		if generation == 0 {
			return d
		}
		generation--
		if err := w.settle(b.T.Context(), d); err != nil {
			b.T.Fatal(err)
		}
	}
}

// TestUnreadThoughOvertaken: a copy that cannot be read is buried, also if the record
// of its key expired or was changed meanwhile. It has no recipients, which must not
// look as if all of them were delivered.
func TestUnreadThoughOvertaken(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(*bench, *settle.Delivery){
		"expired": func(b *bench, _ *settle.Delivery) {
			if err := b.Store.Delete(b.T.Context(), wire.StreamRecord, b.lastSeq("m")); err != nil {
				b.T.Fatal(err)
			}
		},
		"changed": func(b *bench, d *settle.Delivery) { b.overwrite(d, 0, wire.StateScheduled) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := b.due(b.idle(), 1, "450x1@example.net")
			good := twin(d)
			d.Body = []byte("{")
			w := b.beatenAt(b.idle(), func() { first(b, good) })
			if err := w.settle(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if dead := b.Dead(); len(dead) != 1 || dead[0].Reason != mail.ReasonBadEnvelope || string(dead[0].Body) != "{" {
				t.Errorf("dead letters: %+v", dead)
			}
		})
	}
}

// lastSeq is the sequence of the last record of all recipients.
func (b *bench) lastSeq(id string) uint64 {
	b.T.Helper()
	_, seq, err := b.journal().Lookup(b.T.Context(), b.keyOf(id))
	if err != nil {
		b.T.Fatal(err)
	}
	return seq
}

// TestNobodyLeft: between two transactions a delivery learns that a slow one of an
// earlier generation has delivered to all who were left.
func TestNobodyLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.RecipientsPerTransaction = 1
	d := b.due(b.idle(), 1, "450x1@example.net", "451x1@example.net")
	unsettled := twin(d)
	w := b.beatenAt(b.idle(), func() { b.overwrite(unsettled, 0, wire.StateDelivered, wire.StateDelivered) })
	if err := w.settle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.Settled()
	b.Accepted("m", map[string]int{"450x1@example.net": 1, "451x1@example.net": 0})
	if rec := b.record(b.keyOf("m")); rec.Generation != 1 || rec.Event != wire.EventDelivered || !rec.Delivered() {
		t.Errorf("record %+v", rec)
	}
}

// TestMergeWithoutLease: a delivery that comes second, and whose lease has expired and
// whose message is gone, still records what the relay accepted from it.
func TestMergeWithoutLease(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.due(b.idle(), 0, "550x1@example.net")
	quick, other := twin(d), b.idle()
	nested := false
	b.Relay.Hold = func(mail.Message) {
		if nested {
			return
		}
		nested = true
		if err := other.settle(t.Context(), quick); err != nil { // refused, dead-lettered, acked
			t.Error(err)
		}
		nested = true
	}
	w := b.beatenAt(b.idle(), func() { expire(d) })
	if err := w.settle(t.Context(), d); err != nil && err != settle.ErrLeft {
		t.Errorf("got %v", err)
	}
	b.Accepted("m", map[string]int{"550x1@example.net": 1})
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead-lettered, though it was accepted: %+v", dead)
	}
	if rec := b.record(b.keyOf("m")); rec.Event != wire.EventDelivered || rec.Together != wire.StateDelivered || rec.Reason != "" {
		t.Errorf("record %+v", rec)
	}
}

// TestGoesOnThoughOvertaken: a delivery learns that another one, whose worker has
// lost its lease, has recorded some of the recipients. It keeps what that decided
// and what it has done itself, and goes on with the rest.
func TestGoesOnThoughOvertaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to     []string
		other  []wire.State
		sent   map[string]int
		states []wire.State
	}{
		"one left":     {[]string{"ann@example.net", "bob@example.net"}, []wire.State{wire.StateDelivered, wire.StatePending}, map[string]int{"ann@example.net": 1, "bob@example.net": 1}, []wire.State{wire.StateDelivered, wire.StateDelivered}},
		"deferred one": {[]string{"450x1@example.net", "bob@example.net"}, []wire.State{wire.StatePending, wire.StateDelivered}, map[string]int{"bob@example.net": 0}, []wire.State{wire.StateScheduled, wire.StateDelivered}},
		"decided one":  {[]string{"ann@example.net", "bob@example.net", "cid@example.net"}, []wire.State{wire.StateScheduled, wire.StateDead, wire.StatePending}, map[string]int{"ann@example.net": 1, "bob@example.net": 0, "cid@example.net": 1}, []wire.State{wire.StateDelivered, wire.StateDead, wire.StateDelivered}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Settle.RecipientsPerTransaction = 1
			d := b.due(b.idle(), 0, c.to...)
			unsettled := twin(d)
			w := b.beatenAt(b.idle(), func() { b.overwrite(unsettled, 0, c.other...) })
			if err := w.settle(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			b.Accepted("m", c.sent)
			rec := b.record(b.keyOf("m"))
			var states []wire.State
			for _, x := range rec.Recipients {
				states = append(states, x.State)
			}
			if !slices.Equal(states, c.states) || rec.Generation != 0 {
				t.Errorf("recorded %v at generation %d, want %v", states, rec.Generation, c.states)
			}
			if n := slices.IndexFunc(rec.Attempts, func(a wire.Attempt) bool { return a.Session == "another's" }); n < 0 || len(rec.Attempts) < 2 {
				t.Errorf("attempts %+v", rec.Attempts)
			}
		})
	}
}

// TestUnreadThoughRolledBack: the record of a copy was rolled back, while the log still
// has a later one that left a recipient pending. The copy, which cannot be read, is
// buried at once: the record to be replaced is the one that is there.
func TestUnreadThoughRolledBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	d := b.due(w, 1, "450x1@example.net")
	k, seq := b.keyOf("m"), b.lastSeq("m")
	first := b.record(k)
	b.overwrite(d, 1, wire.StatePending)
	b.Eventually("the log has it", func() bool {
		found, err := w.Journal.Find(t.Context(), k, 1, first.Enqueued)
		return err == nil && found != nil
	})
	if _, err := w.Journal.Set(t.Context(), first.Key(), first, b.lastSeq("m"), false); err != nil {
		t.Fatal(err)
	}
	if b.lastSeq("m") <= seq {
		t.Fatal("nothing was rolled back")
	}
	d.Body, d.Times = []byte("{"), 2
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.settle(ctx, d); err != nil {
		t.Fatal(err)
	}
	if dead := b.Dead(); len(dead) != 1 || dead[0].Generation != 2 {
		t.Errorf("dead letters %+v", dead)
	}
}

// TestCrashLoopThoughOvertaken: a message is to be buried unread because it seems to
// crash workers. Another worker records just then that it was delivered.
func TestCrashLoopThoughOvertaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	body := []byte(`{"id":"m","from":"a@example.com","to":["ann@example.net"],"text":"hi"}`)
	if _, err := b.Conn.JS().Publish(t.Context(), lane.SendSubject(), body, jetstream.WithMsgID("m")); err != nil {
		t.Fatal(err)
	}
	d := b.pullFresh(b.idle())
	unsettled := twin(d)
	w := b.beatenAt(b.idle(), func() { b.overwrite(unsettled, 0, wire.StateDelivered) })
	d.Times = settle.CrashLoop
	if err := w.settle(t.Context(), d); err != nil {
		t.Errorf("got %v", err)
	}
	if dead := b.Dead(); len(dead) > 0 || b.Queued() > 0 {
		t.Errorf("dead letters %+v, %d in the queue", dead, b.Queued())
	}
}

// TestUnreadableCopyOfLaterGeneration: the headers of a copy cannot be read, so that
// its generation is not known. It is the one after that of the last record.
func TestUnreadableCopyOfLaterGeneration(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	d := b.due(w, 2, "450x9@example.net")
	delete(d.Header, wire.HeaderGeneration)
	again := twin(d)
	d.Handle = deaf{d.Handle}
	w.DeadLetters = &refusing{w.DeadLetters, stream.ErrTooLarge}
	if err := w.settle(t.Context(), d); err == nil {
		t.Fatal("the first dead letter is to fail")
	}
	if err := b.idle().settle(t.Context(), again); err != nil { // as after a crash
		t.Fatal(err)
	}
	rec := b.record(b.keyOf("m"))
	if rec.Generation != 2 || !rec.Has(wire.StateDead) {
		t.Errorf("record of generation %d: %+v", rec.Generation, rec)
	}
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Generation != 3 || dead[0].Reason != mail.ReasonBadEnvelope || len(dead[0].Recipients) != 1 {
		t.Errorf("dead letters %+v", dead)
	}
}

// refusing buries nothing.
type refusing struct {
	settle.DeadLetters
	err error
}

func (r *refusing) Bury(context.Context, *wire.DeadLetter) (uint64, error) { return 0, r.err }

// TestBadAfterRecord: a copy that one worker could read, and requeued, another one
// cannot read. Those who are left are dead-lettered, the others are not.
func TestBadAfterRecord(t *testing.T) {
	t.Parallel()
	for name, states := range map[string][]wire.State{
		"nobody has it": {wire.StatePending, wire.StatePending},
		"one has it":    {wire.StateDelivered, wire.StatePending},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			d := b.due(w, 1, "450x1@example.net", "451x1@example.net")
			b.overwrite(d, 1, states...)
			d.Body, d.Times = []byte("{"), 2
			if err := w.settle(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			var dead []string
			for _, l := range b.Dead() {
				dead = append(dead, l.Key.Recipient)
			}
			want := []string{wire.All}
			if states[0] == wire.StateDelivered {
				want = []string{"1"}
			}
			if !slices.Equal(dead, want) || b.record(b.keyOf("m")).Has(wire.StatePending) {
				t.Errorf("dead letters of %v, want %v", dead, want)
			}
		})
	}
}

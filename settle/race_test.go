package settle_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/deadletter"
	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestUnreadWhileAccepted: while a delivery is at the relay, another one dead-letters the
// message undecoded, because it was delivered so often. The relay accepts it for one
// recipient: that one may not stay in a dead letter, and the other must.
func TestUnreadWhileAccepted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	body := []byte(`{"id":"m","from":"a@example.com","to":["ann@example.net","550x9@example.net"],"text":"hi"}`)
	if _, err := b.Conn.JS().Publish(t.Context(), lane.SendSubject(), body, jetstream.WithMsgID("m")); err != nil {
		t.Fatal(err)
	}
	d := b.pullFresh(b.idle())
	crash := twin(d)
	crash.Times = settle.CrashLoop
	w := b.beatenAt(b.idle(), func() {
		if err := b.idle().settle(t.Context(), crash); err != nil {
			t.Error(err)
		}
		expire(d)
	})
	if err := w.settle(t.Context(), d); err != nil && !errors.Is(err, settle.ErrLeft) {
		t.Error(err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	if dead := b.Dead(); len(dead) != 1 || dead[0].Key.Recipient != "1" {
		t.Errorf("dead letters %+v", dead)
	}
	if rec := b.record(b.keyOf("m")); rec == nil || !rec.DeliveredTo(0) {
		t.Errorf("no record says that it was accepted: %+v", rec)
	}
}

// silentLog is a journal whose log does not answer the first few times.
type silentLog struct {
	settle.Journal
	times *int
}

func (j silentLog) Find(ctx context.Context, k wire.Key, generation int, enqueued time.Time) (*wire.Record, error) {
	if *j.times--; *j.times >= 0 {
		return nil, stream.ErrAway
	}
	return j.Journal.Find(ctx, k, generation, enqueued)
}

// TestLogAway: the message stays in flight while the log does not answer. If each time
// cost a delivery, it would be taken for one that crashes workers.
func TestLogAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	times := 4
	w.Journal = silentLog{w.Journal, &times}
	b.Publish("m", "ann@example.net")
	d := b.pullFresh(w)
	d.Times = 2
	if err := w.settle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	if times >= 0 {
		t.Error("the log was not asked again")
	}
}

// atSet calls before the nth write of a record, and goes on.
type atSet struct {
	settle.Journal
	n  int
	do map[int]func()
}

func (j *atSet) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	j.n++
	if do := j.do[j.n]; do != nil {
		do()
	}
	return j.Journal.Set(ctx, k, r, expected, brief)
}

// TestMergeRacesTheCopy: a delivery that comes second merges. Between its lookup
// and its write of the recipient's own record, the copy of the next generation buries
// that recipient. Nobody dies, and no answer is lost.
func TestMergeRacesTheCopy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.due(b.idle(), 0, "ann@example.net", "550x1@example.net")
	first := twin(d)
	w := b.idle()
	w.Journal = &atSet{Journal: w.Journal, do: map[int]func(){
		1: func() { // another delivery deferred both, and makes a copy of all
			b.overwrite(first, 0, wire.StateScheduled, wire.StateScheduled)
			first.Times = 2
			if err := b.idle().settle(t.Context(), first); err != nil {
				t.Error(err)
			}
		},
		2: func() { // the copy: one failed, one exhausted, so each has a dead letter of its own
			next := b.pullDue(b.idle())
			read := twin(next)
			read.Read()
			rec := read.Draft(time.Now())
			for i, why := range []string{"exhausted", "failed"} {
				rec.Recipients[i].State, rec.Recipients[i].Reason = wire.StateDead, mail.Reason(why)
			}
			rec.Attempts = append(rec.Attempts, wire.Attempt{N: 2, Session: "the copy's", At: time.Now()})
			rec.Conclude()
			_, seq, err := b.journal().Lookup(t.Context(), rec.Key())
			if err == nil {
				_, err = b.journal().Set(t.Context(), rec.Key(), rec, seq, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := b.idle().settle(t.Context(), next); err != nil { // forwards what it finds, acks
				t.Error(err)
			}
		},
	}}
	if err := w.settle(t.Context(), d); err != nil && !errors.Is(err, settle.ErrLeft) {
		t.Fatal(err)
	}
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	for _, l := range b.Dead() {
		if l.Key.Recipient == "0" {
			t.Errorf("ann was accepted by a delivery whose worker lives, and is in a living dead letter: generation %d, %s", l.Generation, l.Reason)
		}
	}
}

// oneOf is a relay that accepts the first recipient and defers the others.
type oneOf struct{ settle.Relay }

func (r oneOf) Deliver(_ context.Context, m mail.Message) mail.Transaction {
	tx := mail.Transaction{At: time.Now(), Relay: "books", Session: "slow", Use: 1}
	for i := range m.Recipients {
		o := mail.Outcome{Class: mail.Failed, Stage: mail.StageRcpt, Code: 550, Reply: "no"}
		if i == 0 {
			o = mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Reply: "ok"}
		}
		tx.Outcomes = append(tx.Outcomes, o)
	}
	return tx
}

// TestMergeIntoDiscarded: an operator's process dies between the record of a discard
// and the tombstone. A slow delivery had one of the two accepted and merges. Then an
// operator replays what is still in the list, or discards it again.
func TestMergeIntoDiscarded(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*bench, *deadletter.Found) error{
		"replayed":  func(b *bench, l *deadletter.Found) error { return b.Graves.Replay(b.T.Context(), l, 3) },
		"discarded": func(b *bench, l *deadletter.Found) error { return b.Graves.Discard(b.T.Context(), l) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := b.due(b.idle(), 0, "550x1@example.net", "550x1@example.org")
			first := twin(d)
			w := b.idle()
			w.Relay = oneOf{w.Relay}
			w.Journal = &atSet{Journal: w.Journal, do: map[int]func(){
				1: func() {
					if err := b.idle().settle(t.Context(), first); err != nil {
						t.Error(err)
					}
					if err := b.Replayer(&wb.Death{At: "set"}).Discard(t.Context(), b.Dead()[0]); err == nil {
						t.Error("the operator's process was to die")
					}
				},
			}}
			if err := w.settle(t.Context(), d); err != nil && !errors.Is(err, settle.ErrLeft) {
				t.Fatal(err)
			}
			rec := b.record(b.keyOf("m"))
			t.Logf("record: generation %d, %s, %+v", rec.Generation, rec.Event, rec.Recipients)
			if dead := b.Dead(); len(dead) != 1 || !dead[0].Key.IsAll() {
				t.Errorf("dead letters %+v, want the one that is being discarded", dead)
			}
			if rec.Event != wire.EventDiscarded {
				t.Errorf("the record of the discard says %q now: show will not say that it was discarded", rec.Event)
			}
			for _, l := range b.Dead() {
				t.Logf("%s: %v", name, again(b, l))
			}
			m, err := b.Store.Last(t.Context(), wire.StreamDead, b.keyOf("m").DeadSubject())
			if err != nil {
				t.Fatal(err)
			}
			if s := m.Header.Get(wire.HeaderTombstone); s != string(wire.EventDiscarded) {
				t.Errorf("tombstone %q, %d in the queue, %d dead letters, accepted: %v. The second recipient is neither accepted nor dead nor canceled", s, b.Queued(), len(b.Dead()), b.Relay.Accepted())
			}
		})
	}
}

// small is a journal at a broker that accepts records up to a size.
type small struct {
	settle.Journal
	limit int
}

func (j *small) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if b, err := r.Encode(); err == nil && j.limit > 0 && len(b) > j.limit {
		return 0, stream.ErrTooLarge
	}
	return j.Journal.Set(ctx, k, r, expected, brief)
}

// TestMergedRecordTooLarge: what a merge adds makes the record larger than the
// broker accepts. It has to be shortened, as any other record.
func TestMergedRecordTooLarge(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.due(b.idle(), 0, "ann@example.net")
	first := twin(d)
	w := b.idle()
	j := &small{Journal: w.Journal}
	w.Journal = &beaten{j, func() {
		b.overwrite(first, 0, wire.StateScheduled)
		theirs, err := b.record(b.keyOf("m")).Encode()
		if err != nil {
			t.Error(err)
		}
		j.limit = len(theirs) + 20
	}}
	if err := w.settle(t.Context(), d); err != nil && !errors.Is(err, settle.ErrLeft) {
		t.Errorf("the delivery ended, and its acceptance is lost: %v", err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	if rec := b.record(b.keyOf("m")); !rec.DeliveredTo(0) {
		t.Errorf("the record says %s", rec.Recipients[0].State)
	}
}

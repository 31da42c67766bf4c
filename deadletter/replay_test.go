package deadletter_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// failed is a dead letter to two recipients that used up its budget and was
// replayed four times before, and the record of it.
func (y *yard) failed(id string) (*wire.DeadLetter, *wire.Record) {
	at := y.now()
	l := wire.Key{Lane: "normal", ID: id, Origin: wire.Origin(at, 7), Recipient: wire.All}
	log := []wire.Attempt{{N: 24, Counted: true, At: at}, {N: 25, Counted: true, At: at}}
	dead := &wire.DeadLetter{
		Copy:   wire.Copy{Key: l, Generation: 3, Attempts: 25, Enqueued: at, Log: log, Replays: 4, Replayed: at},
		Reason: mail.ReasonExhausted, Producer: map[string][]string{"X-Own": {"kept"}},
		Body: []byte(`{"from":"a@example.com","to":["ann@example.net","bob@example.net"],"text":"hi"}`),
	}
	rec := &wire.Record{
		V: wire.RecordVersion, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Recipient: l.Recipient, Generation: 2, Event: wire.EventExhausted, Reason: dead.Reason,
		At: at, Enqueued: at, Attempts: log, Counted: 25, Together: wire.StateDead, Replays: 4, Replayed: at,
	}
	for i, a := range []string{"ann@example.net", "bob@example.net"} {
		rec.Recipients = append(rec.Recipients, wire.RecipientRecord{Address: a, Index: i, State: wire.StateDead, Reason: dead.Reason})
	}
	return dead, rec
}

// lay writes the record, nil for none, and buries the dead letter.
func (y *yard) lay(l *wire.DeadLetter, rec *wire.Record) *deadletter.Found {
	y.t.Helper()
	if rec != nil {
		if _, err := journal.New(y.store).Set(y.t.Context(), rec.Key(), rec, 0, false); err != nil {
			y.t.Fatal(err)
		}
	}
	if _, err := y.Bury(y.t.Context(), l); err != nil {
		y.t.Fatal(err)
	}
	return y.only(l.Key.ID)
}

// copyOf is the key's one copy, scheduled or due.
func (y *yard) copyOf(l wire.Key) (wire.Copy, map[string][]string, []byte) {
	y.t.Helper()
	m, err := y.store.Last(y.t.Context(), l.Lane.LaterStream(), l.CopySubject(wire.CopyAny))
	if err != nil {
		y.t.Fatal(err)
	}
	c, err := wire.ParseCopy(l.Lane, m.Header)
	if err != nil {
		y.t.Fatal(err)
	}
	return c, schema.ProducerHeaders(m.Header), m.Data
}

// TestReplay: the message is sent complete, with a new budget of attempts and age
// and with its history, to those of its recipients that are dead: one that was
// found to have it does not get it again. It is sent as often as is allowed.
func TestReplay(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	const dead, later, delivered = wire.StateDead, wire.StateScheduled, wire.StateDelivered
	for _, c := range []struct {
		name string
		// was and is are the states of the recipients in the key's record; was is
		// nil if that has expired.
		was, is []wire.State
	}{
		{"dead", []wire.State{dead, dead}, []wire.State{later, later}},
		{"one-has-it", []wire.State{delivered, dead}, []wire.State{delivered, later}},
		{"no-record", nil, []wire.State{later, later}},
	} {
		l, was := y.failed(c.name)
		for i, s := range c.was {
			was.Recipients[i].State, was.Recipients[i].HangUps = s, 3
		}
		if c.was == nil {
			was = nil
		}
		f := y.lay(l, was)
		began := y.now()
		y.check(y.Replay(t.Context(), f, 5), nil)
		y.want(f, "replayed, copy, tombstone replayed")
		rec, _, err := journal.New(y.store).Lookup(t.Context(), l.Key)
		if err != nil {
			t.Fatal(err)
		}
		var is []wire.State
		for _, x := range rec.Recipients {
			is = append(is, x.State)
			if x.State == later && (x.Reason != "" || x.HangUps > 0) {
				t.Errorf("%s: %s waits because of %q, with %d hang-ups", c.name, x.Address, x.Reason, x.HangUps)
			}
		}
		if !reflect.DeepEqual(is, c.is) {
			t.Errorf("%s: recipients %v, want %v", c.name, is, c.is)
		}
		if rec.Generation != l.Generation || rec.Counted != 0 || rec.Replays != 5 || rec.Replayed.Before(began) || len(rec.Attempts) != len(l.Log) {
			t.Errorf("%s: record %+v", c.name, rec)
		}
		again, producer, body := y.copyOf(l.Key)
		if again.Generation != l.Generation+1 || again.Attempts != 0 || again.Replays != 5 || !again.Replayed.Equal(rec.Replayed) || again.DeadSeq != f.Seq {
			t.Errorf("%s: copy %+v", c.name, again)
		}
		if len(again.Log) != len(l.Log) || !again.Enqueued.Equal(l.Enqueued) || !reflect.DeepEqual(producer, l.Producer) || !bytes.Equal(body, l.Body) {
			t.Errorf("%s: copy %+v with %v and %s", c.name, again, producer, body)
		}
	}
}

// TestNoReplay: what must not be replayed, or need not be, gets no copy. A dead
// dead letter that remains can be discarded afterwards.
func TestNoReplay(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for _, c := range []struct {
		name   string
		change func(l *wire.DeadLetter, r *wire.Record)
		want   string // in the error
		state  string
	}{
		{"as-often-as-allowed", func(l *wire.DeadLetter, _ *wire.Record) { l.Replays = 5 }, deadletter.ErrTooOften.Error(), "exhausted, dead letter"},
		{"more-often", func(l *wire.DeadLetter, _ *wire.Record) { l.Replays = 6 }, deadletter.ErrTooOften.Error(), "exhausted, dead letter"},
		{"headers-lost", func(l *wire.DeadLetter, _ *wire.Record) { l.HeadersLost = true }, "publish the mail anew", "exhausted, dead letter"},
		{"header-unwritable", func(l *wire.DeadLetter, _ *wire.Record) {
			l.Producer = map[string][]string{"X Own": {"x"}}
		}, "publish the mail anew", "exhausted, dead letter"},
		{"headers-too-large", func(l *wire.DeadLetter, _ *wire.Record) {
			l.Producer = map[string][]string{"X-Own": {strings.Repeat("x", schema.MaxProducerHeaders)}}
		}, "publish the mail anew", "exhausted, dead letter"},
		{"found-delivered", func(_ *wire.DeadLetter, r *wire.Record) {
			for i := range r.Recipients {
				r.Recipients[i].State = wire.StateDelivered
			}
			r.Event = wire.EventDelivered
		}, deadletter.ErrSettled.Error(), "delivered, tombstone replayed"},
		{"gone-on", func(l *wire.DeadLetter, r *wire.Record) {
			r.Generation, r.Event = l.Generation+1, wire.EventDelivered
		}, deadletter.ErrSettled.Error(), "delivered, tombstone replayed"},
	} {
		l, rec := y.failed(c.name)
		c.change(l, rec)
		f := y.lay(l, rec)
		if err := y.Replay(t.Context(), f, 5); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		y.want(f, c.state)
		if errors.Is(y.Discard(t.Context(), f), deadletter.ErrSettled) != (c.want == deadletter.ErrSettled.Error()) {
			t.Errorf("%s: whether it can be discarded", c.name)
		}
	}
}

// TestReplayOfTheSameBytes: a replay cannot help what is refused for its bytes. It
// changes nothing, and the dead letter can still be discarded.
func TestReplayOfTheSameBytes(t *testing.T) {
	t.Parallel()
	for _, reason := range mail.Reasons {
		y := newYard(t)
		l, rec := y.failed("m")
		l.Reason = reason
		f := y.lay(l, rec)
		err := y.Replay(t.Context(), f, 10)
		if refused := reason == mail.ReasonBadEnvelope || reason == mail.ReasonLoop; refused != errors.Is(err, deadletter.ErrSameBytes) || !refused && err != nil {
			t.Errorf("%s: %v", reason, err)
		}
		if err != nil {
			if err := y.Discard(t.Context(), y.only("m")); err != nil {
				t.Errorf("%s: %v", reason, err)
			}
		}
	}
}

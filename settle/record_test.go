package settle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestRecordAfterEachTransaction: of 200 recipients in four transactions those
// that are recorded are not sent to again.
func TestRecordAfterEachTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var to []string
	for i := range 200 {
		to = append(to, fmt.Sprintf("r%d@example.net", i))
	}
	d := &wb.Death{At: "recorded", Nth: 1}
	stop := b.Work(d)
	b.Publish("m", to...)
	b.Eventually("the worker dies", d.IsDead)
	stop()
	b.Work(nil)
	b.Settled()
	want := map[string]int{}
	for _, a := range to {
		want[a] = 1
	}
	b.Accepted("m", want)
}

// TestBriefRecords: only a record on which nothing depends expires early. On that of
// a replay its dead letter depends, even if it is the first of its key because the
// earlier records have expired.
func TestBriefRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := b.Work(nil)
	b.Publish("replayed", "550x1@example.net")
	b.Eventually("the dead letter is dead", func() bool { return len(b.Dead()) == 1 })
	stop()
	if err := b.Graves.Replay(t.Context(), b.Dead()[0], 5); err != nil {
		t.Fatal(err)
	}
	b.forgetRecords(b.keyOf("replayed"))
	b.Work(nil)
	b.Publish("first", "ann@example.net")
	b.Publish("later", "451x1@example.net")
	b.Publish("mixed", "ann@example.net", "452x1@example.net")
	b.Publish("dead", "550@example.net")
	b.Settled()
	for id, want := range map[string]bool{"first": true, "later": false, "mixed": false, "dead": false, "replayed": false} {
		all := 0
		for seq := uint64(1); ; all++ {
			m, err := b.Store.Next(t.Context(), wire.StreamRecord, "mail.record.*."+id+".*.*", seq, time.Time{})
			if errors.Is(err, stream.ErrNotFound) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seq = m.Sequence + 1
			if brief := m.Header.Get("Nats-TTL") != ""; brief != want {
				t.Errorf("record %s of %s: brief %v, want %v", m.Subject, id, brief, want)
			}
		}
		if all == 0 {
			t.Errorf("%s has no record", id)
		}
	}
}

// TestNoRoom: what there is no room for stays in flight, so that those who have
// the mail do not get it again; what was delivered is acked without a record,
// however long there is no room, and counted.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	const forGood = -1
	for _, c := range []struct {
		name, what, to string
		refusals       int
		unrecorded     float64
	}{
		{"copy", "mail.copy.", "450x1@b.example", 2, 0},
		{"record of what is to go on", "record", "450x1@b.example", 2, 0},
		{"record of what was delivered", "record", "bob@b.example", forGood, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			w.Log = discard()
			b.Refuse.Set(wb.Times(c.refusals, c.what, fmt.Errorf("%w: 10077", stream.ErrFull)))
			b.Publish("m", "ann@a.example", c.to)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := w.settle(ctx, b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			if n := w.Counted(t, "unrecorded_total"); n != c.unrecorded {
				t.Errorf("%v counted as acked without a record, want %v", n, c.unrecorded)
			}
			b.Refuse.Set(nil)
			if w.Consumer.Gate.Full() {
				t.Error("more is taken while there is no room")
			}
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"ann@a.example": 1, c.to: 1})
			if dead := b.Dead(); len(dead) > 0 {
				t.Errorf("dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

// TestNoRoomForAReplay: a replay that was delivered waits for room for its
// record. Without one the key would stay "replayed" for all who ask.
func TestNoRoomForAReplay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	w.Log = discard()
	b.Publish("m", "550x1@b.example")
	if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	l := b.Dead()[0]
	if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
		t.Fatal(err)
	}
	b.Refuse.Set(wb.Times(1, "record", stream.ErrFull))
	if err := w.settle(t.Context(), b.pullDue(w)); err != nil {
		t.Fatal(err)
	}
	if rec := b.record(l.Key); rec == nil || rec.Event != wire.EventDelivered || b.Queued() > 0 {
		t.Errorf("record %+v, %d in the queue", rec, b.Queued())
	}
	b.Accepted("m", map[string]int{"550x1@b.example": 1})
}

// TestNoRoomWhileStopping: a worker that is told to stop requeues what it has
// no room for.
func TestNoRoomWhileStopping(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	w.Log = discard()
	b.Refuse.Set(func(string) error { return stream.ErrFull })
	b.Publish("m", "450x1@b.example")
	w.stop()
	if err := w.settle(t.Context(), b.pullFresh(w)); !errors.Is(err, stream.ErrFull) {
		t.Errorf("got %v", err)
	}
	b.Refuse.Set(nil)
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"450x1@b.example": 1})
}

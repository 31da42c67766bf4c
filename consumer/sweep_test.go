package consumer_test

import (
	"testing"

	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestSweep finds a message that has run out of deliveries, and one that was
// settled and brought back.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Publish("stranded", "ann@example.net")
	b.Exhaust()
	b.Publish("ghost", "bob@example.net")
	recordDelivered(b, "ghost", "bob@example.net")
	b.Exhaust()
	b.Work(nil)
	b.Settled()
	b.Accepted("ghost", map[string]int{"bob@example.net": 0})
	b.Accepted("stranded", map[string]int{"ann@example.net": 0})
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Key.ID != "stranded" || dead[0].Reason != mail.ReasonStranded {
		t.Errorf("dead letters: %+v", dead)
	}
}

// TestSweepLeavesWhatComes: before a consumer has delivered anything, no message is
// stranded.
func TestSweepLeavesWhatComes(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Publish("new", "ann@example.net")
	w := b.Worker(nil)
	c := b.Make(w)
	if err := c.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.SweepAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, queued := w.Counted(t, "stranded_total"), b.Queued(); n != 0 || queued != 1 {
		t.Errorf("%v counted as stranded, %d in the queue, want none and one", n, queued)
	}
}

// recordDelivered records that the next fresh message, of that id and for that
// address, was delivered, and gives the message back.
func recordDelivered(b *bench.Bench, id, to string) {
	b.T.Helper()
	m, meta := b.Take(b.Conn.Consumer, bench.Lane.Sources()[0])
	k := wire.FreshKey(bench.Lane, meta.Timestamp, meta.Sequence.Stream)
	k.ID = id
	rec := wire.NewRecord(wire.Copy{Key: k, Enqueued: meta.Timestamp}, meta.Timestamp)
	rec.Recipients = []wire.RecipientRecord{{Address: to, State: wire.StateDelivered}}
	rec.Conclude()
	if _, err := journal.New(b.Store).Set(b.T.Context(), k, rec, 0, false); err != nil {
		b.T.Fatal(err)
	}
	if err := m.Nak(); err != nil {
		b.T.Fatal(err)
	}
}

package settle_test

import (
	"errors"
	"testing"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
)

// TestExpiredAndGone: a delivery whose lease has expired and whose message is gone
// neither sends, nor records, nor forwards.
func TestExpiredAndGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "450x1@example.net")
	h := b.pullFresh(w)
	if err := w.Store.Delete(t.Context(), h.Stream, h.Sequence); err != nil {
		t.Fatal(err)
	}
	expire(h)
	if err := w.settle(t.Context(), h); !errors.Is(err, settle.ErrGone) && !errors.Is(err, settle.ErrLeft) {
		t.Errorf("got %v", err)
	}
	b.Accepted("m", map[string]int{"450x1@example.net": 0})
	if rec := b.record(h.Key()); rec != nil || b.Queued() != 0 {
		t.Errorf("record %+v, %d in the queue", rec, b.Queued())
	}
}

// TestExpiredInTransaction: the lease expires while the relay is slow. The dot is
// not sent, nothing is requeued, and the message goes to another worker.
func TestExpiredInTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	b.Relay.Hold = func(mail.Message) { expire(h) }
	if err := w.settle(t.Context(), h); !errors.Is(err, settle.ErrLeft) {
		t.Errorf("got %v", err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 0})
	b.Relay.Hold = nil
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

package settle_test

import (
	"testing"
)

// TestUnansweredAckEndsInDelete: a killed broker ignores acks above its
// rolled-back pointer; sessions that waited for it stood still.
func TestUnansweredAckEndsInDelete(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.Handle = deaf{h.Handle}
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if n := b.Queued(); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if err := w.Ack(t.Context(), h); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
}

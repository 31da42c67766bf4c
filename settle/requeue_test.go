package settle_test

import (
	"testing"
	"time"
)

// TestParking: copies that count no attempt do not take each other's place.
func TestParking(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, 10*time.Millisecond
	b.Work(nil)
	b.Publish("m", "421x30@example.net")
	b.Settled()
	b.Accepted("m", map[string]int{"421x30@example.net": 1})
	rec := b.record(b.keyOf("m"))
	if rec.Counted != 1 || rec.Generation < 3 || len(b.Dead()) > 0 {
		t.Errorf("%d counted, hop %d, dead %v", rec.Counted, rec.Generation, b.Dead())
	}
}

package settle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/wire"
)

// TestParking: copies that count no attempt do not replace each other.
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
		t.Errorf("%d counted, generation %d, dead %v", rec.Counted, rec.Generation, b.Dead())
	}
}

// TestHangUpsAreScheduled: mail at whose recipient the relay closes the session is
// scheduled at once. Given back to the broker, it would count against what its lane
// may have in flight.
func TestHangUpsAreScheduled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = 100*time.Millisecond, time.Hour
	b.workWith(closesAt())
	for i := range 20 {
		b.Publish(fmt.Sprintf("m-%d", i), "hang@example.net")
	}
	b.Eventually("all wait as schedules", func() bool {
		c, err := b.Conn.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
		if err != nil {
			t.Fatal(err)
		}
		i := c.CachedInfo()
		return i.NumAckPending == 0 && i.NumPending == 0 && i.Delivered.Consumer < 2*20
	})
}

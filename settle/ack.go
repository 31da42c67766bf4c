package settle

import (
	"context"
	"time"

	"github.com/postrider/postrider/stream"
)

// ackFor is how long each try waits for the answer. The first are short: an ack that
// is lost in an election holds its slot for as long.
var ackFor = []time.Duration{300 * time.Millisecond, 1250 * time.Millisecond, 5 * time.Second}

// ack is step 5. It waits for the broker's answer, because an unanswered ack may
// be forgotten. After three tries the message, which is recorded and forwarded, is
// deleted by its sequence: a broker that was killed ignores acks above its
// rolled-back pointer.
func (s *Settler) ack(ctx context.Context, d *Delivery) error {
	for n := 0; d.Handle != nil && n < len(ackFor); n++ {
		tctx, cancel := context.WithTimeout(ctx, ackFor[n])
		err := d.Handle.Ack(tctx)
		cancel()
		if err == nil {
			return nil
		}
		if !stream.Pause(ctx, 200*time.Millisecond<<n) {
			return ErrLeft
		}
	}
	if d.Handle != nil {
		s.metrics.deleted.Inc()
	}
	return s.writes.try(ctx, d.withoutLease(), func(ctx context.Context) error { return s.Store.Delete(ctx, d.Stream, d.Sequence) })
}

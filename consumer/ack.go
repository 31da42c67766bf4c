package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	ackTries = 3
	ackFor   = 5 * time.Second
)

// ack is step 5. It waits for the broker's answer, for an unanswered ack may
// be forgotten. After three tries the message is deleted by its sequence: a
// broker that was killed ignores acks above its rolled-back pointer, and the
// message is recorded and carried on.
func (c *Consumer) ack(ctx context.Context, h *delivery) error {
	for n := 0; h.msg != nil && n < ackTries; n++ {
		tctx, cancel := context.WithTimeout(ctx, ackFor)
		err := h.msg.DoubleAck(tctx)
		cancel()
		if err == nil {
			return nil
		}
		if err := sleep(ctx, 200*time.Millisecond<<n); err != nil {
			return errLeft
		}
	}
	if h.msg != nil {
		c.metrics.deleted.Inc()
	}
	err := c.ask(ctx, func(ctx context.Context) error { return c.Store.Delete(ctx, h.stream, h.seq) })
	if err != nil && !errors.Is(err, errLeft) {
		return fmt.Errorf("delete settled message %d from %s: %w", h.seq, h.stream, err)
	}
	return err
}

package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

// sweep finds, now and then, what no consumer will ever hand out: a message
// that ran out of deliveries, or one that a killed broker brought back.
func (c *Consumer) sweep(ctx, settling context.Context, s *source) {
	for sleep(ctx, c.cfg.SweepInterval) == nil {
		if err := c.sweepOnce(ctx, settling, s); err != nil && ctx.Err() == nil && !errors.Is(err, stream.ErrAway) {
			c.log.Warn("search for stranded mail", "stream", s.stream, "error", err)
		}
	}
}

func (c *Consumer) sweepOnce(ctx, settling context.Context, s *source) error {
	info, err := s.consumer.Info(ctx)
	if err != nil {
		return nil //nolint:nilerr // the taker reports a consumer or a broker that is gone
	}
	c.adoptAckWait(s, info.Config.AckWait)
	seq := uint64(1)
	for {
		m, err := c.Store.Next(ctx, s.stream, s.filter, seq, time.Time{})
		if errors.Is(err, stream.ErrNotFound) || err == nil && m.Sequence > HandedOut(info) {
			return nil
		}
		if err != nil {
			return err
		}
		seq = m.Sequence + 1
		c.log.Warn("found a message that no consumer would hand out any more", "lane", s.lane, "stream_seq", m.Sequence)
		c.metrics.stranded.Inc()
		h := &delivery{stream: s.stream, subject: m.Subject, seq: m.Sequence, stored: m.Time, header: m.Header, body: m.Data}
		c.settleSafely(ctx, settling, s.lane, h)
	}
}

// adoptAckWait goes by the shortest AckWait of all consumers as they stand now.
func (c *Consumer) adoptAckWait(s *source, wait time.Duration) {
	s.ackWait.Store(int64(wait))
	for _, other := range c.sources {
		wait = min(wait, time.Duration(other.ackWait.Load()))
	}
	if old := c.leases.ackWait(); wait != old {
		c.log.Info("ACK_WAIT was changed at the broker", "from", old, "to", wait)
		c.leases.adopt(wait)
	}
}

// HandedOut is the sequence up to which the consumer is done: its ack floor,
// or with nothing pending the last it delivered. What still lies there is
// stranded; counting gave false alarms. (What waits after a nak counts as
// pending; NumRedelivered counts the stranded themselves.)
func HandedOut(info *jetstream.ConsumerInfo) uint64 {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return info.Delivered.Stream
	}
	return info.AckFloor.Stream
}

package consumer

import (
	"errors"
	"time"

	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
)

// sweep finds, now and then, what no consumer will ever deliver: a message that ran
// out of deliveries, or one that a killed broker brought back. It is settled by its
// record, if it has one; else it is dead-lettered as stranded.
func (c *Consumer) sweep(live settle.Span, f *fetcher) {
	for stream.Pause(live.Fetch, c.cfg.SweepInterval) {
		err := c.sweepOnce(live, f)
		if err == nil && !f.Fresh {
			err = c.fireOverdue(live.Fetch, f, c.Now())
		}
		if err != nil && live.Fetch.Err() == nil && !errors.Is(err, stream.ErrAway) {
			c.Log.Warn("search for stranded and overdue mail", "stream", f.Stream, "error", err)
		}
	}
}

func (c *Consumer) sweepOnce(live settle.Span, f *fetcher) error {
	info, err := f.durable.Info(live.Fetch)
	if err != nil {
		return nil // the fetcher reports a consumer or a broker that is gone
	}
	c.adoptAckWait(f, info.Config.AckWait)
	r := stream.Range{From: 1, Through: stream.Floor(info)}
	if r.Through == 0 { // nothing was delivered yet, and All would read everything
		return nil
	}
	for m, err := range stream.All(live.Fetch, c.Store, f.Stream, f.Filter, r) {
		if err != nil {
			return err
		}
		c.Log.Warn("found a message that no consumer would deliver any more", "lane", f.Lane, "stream_seq", m.Sequence)
		c.metrics.stranded.Inc()
		c.settleSafely(live, &settle.Delivery{
			Lane: f.Lane, Stream: f.Stream, Subject: m.Subject, Sequence: m.Sequence, Stored: m.Time, Header: m.Header, Body: m.Data,
		})
	}
	return nil
}

// adoptAckWait uses the shortest AckWait of all durable consumers as they are now.
func (c *Consumer) adoptAckWait(f *fetcher, wait time.Duration) {
	f.ackWait.Store(int64(wait))
	for _, other := range c.fetchers {
		wait = min(wait, time.Duration(other.ackWait.Load()))
	}
	if old := c.leases.ackWait(); wait != old {
		c.Log.Info("the AckWait of the consumers was changed at the broker", "from", old, "to", wait)
		c.leases.wait.Store(int64(wait))
	}
}

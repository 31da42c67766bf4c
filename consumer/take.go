package consumer

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/schema"
)

// source is one of a lane's two streams: what producers published, or what is due.
type source struct {
	lane     schema.Lane
	stream   string
	name     string
	filter   string
	fresh    bool
	consumer jetstream.Consumer
	// busy: the last message taken was not the last there is. Then a place is
	// found first and the message pulled into it; else the pull waits at the
	// broker, so that a message is taken the moment it comes.
	busy atomic.Bool
	// ackWait is the consumer's as last seen, in nanoseconds.
	ackWait atomic.Int64
}

// pullFor is how long a place is kept for a message that another worker took.
const pullFor = 100 * time.Millisecond

// takeFrom takes messages one at a time until ctx ends.
func (c *Consumer) takeFrom(ctx, work, settling context.Context, s *source) {
	for ctx.Err() == nil {
		err := c.takeMany(ctx, work, settling, s)
		if err == nil || ctx.Err() != nil {
			return
		}
		c.log.Warn("taking mail was interrupted", "lane", s.lane, "stream", s.stream, "error", err)
		if c.Repair != nil {
			if err := c.Repair(ctx); err != nil {
				c.log.Warn("make streams and consumers again", "error", err)
			}
		}
		if sleep(ctx, time.Second) != nil {
			return
		}
	}
}

// takeMany takes through one subscription, until ctx ends or nobody answers.
func (c *Consumer) takeMany(ctx, work, settling context.Context, s *source) error {
	p, err := newPuller(c.NATS, c.leases, s.stream, s.name)
	if err != nil {
		return err
	}
	defer func() {
		for _, x := range p.stop() {
			c.handle(ctx, work, settling, s, x, false)
		}
	}()
	var since time.Time // when it was first not answered for
	for {
		x, placed, err := c.next(ctx, s, p)
		switch {
		case err == nil:
			since = time.Time{}
			c.handle(ctx, work, settling, s, x, placed)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errNoConsumer):
			// In an election this passes; a consumer that is gone is made again.
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) > goneAfter {
				return err
			}
		case !errors.Is(err, errNoMessage):
			return err
		}
	}
}

// goneAfter is longer than an election takes.
const goneAfter = 15 * time.Second

// next waits for leave to take and for a message; placed reports that a place
// is held for it.
func (c *Consumer) next(ctx context.Context, s *source, p *puller) (x parcel, placed bool, err error) {
	if err := c.gate.wait(ctx, s.fresh); err != nil {
		return parcel{}, false, err
	}
	if s.busy.Load() {
		if err := c.slots.acquire(ctx, s.lane); err != nil {
			return parcel{}, false, err
		}
		if x, err = p.next(ctx, pullFor); err == nil {
			return x, true, nil
		}
		c.slots.release(s.lane)
		if !errors.Is(err, errNoMessage) {
			return parcel{}, false, err
		}
		s.busy.Store(false)
	}
	x, err = p.next(ctx, 0)
	return x, false, err
}

// handle settles one message in a place of its own.
func (c *Consumer) handle(ctx, work, settling context.Context, s *source, x parcel, placed bool) {
	defer x.lease.release()
	c.metrics.taken.WithLabelValues(string(s.lane)).Inc()
	c.metrics.inHand.Inc()
	defer c.metrics.inHand.Dec()
	if placed {
		defer c.slots.release(s.lane)
	}
	meta, err := x.msg.Metadata()
	if err != nil {
		c.log.Error("read a message's delivery", "stream", s.stream, "error", err)
		return
	}
	s.busy.Store(meta.NumPending > 0)
	h := &hand{
		stream: meta.Stream, subject: x.msg.Subject, seq: meta.Sequence.Stream, stored: meta.Timestamp,
		header: x.msg.Header, body: x.msg.Data, delivered: int(meta.NumDelivered), msg: x.lease.msg, lease: x.lease,
	}
	until := ctx
	if h.handedBackOften() {
		until = work // settling puts it into a schedule where it cannot be sent now
	}
	if !placed {
		if c.slots.acquire(until, s.lane) != nil {
			_ = c.nak(h, 0)
			return
		}
		defer c.slots.release(s.lane)
	}
	switch d := c.gate.settling(); {
	case until.Err() != nil || d > 0 && sleep(until, d) != nil:
		_ = c.nak(h, 0)
	case !c.Relay.Up() && !h.handedBackOften():
		_ = c.nak(h, c.pause(h.delivered))
	default:
		c.settleSafely(work, settling, s.lane, h)
	}
}

// settleSafely keeps a message that breaks our code from breaking its
// neighbours: it is delivered again, and in the end buried unread.
func (c *Consumer) settleSafely(work, settling context.Context, lane schema.Lane, h *hand) {
	defer func() {
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			c.log.Error("a message broke the worker; it is tried again and in the end buried unread", "lane", lane, "stream_seq", h.seq, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	err := c.settle(work, settling, lane, h)
	if err != nil && !errors.Is(err, errLeft) {
		c.metrics.left.Inc()
		c.log.Warn("message left in its stream; it is delivered again", "id", h.own.Line.ID, "lane", lane, "stream_seq", h.seq, "error", err)
	}
}

package consumer

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// source is one of a lane's two streams: what producers published, or what is due.
type source struct {
	lane     wire.Lane
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
	*trickle
}

// taken is a message on its way to be settled.
type taken struct {
	arrival
	// placed: a place is held for it.
	slotted bool
	// alone: it has its source's trickle for itself.
	alone bool
}

// How long a pull waits for a message.
const (
	// pullPlaced: a place is kept for it, and another worker may have taken it.
	pullSlotted = 100 * time.Millisecond
	// pullIdle: then it is asked whether messages may still be taken.
	pullIdle = 30 * time.Second
	// pullAlone: then another taker has its turn. A silent broker is noticed
	// before.
	pullAlone = silence + 4*time.Second
)

// takeFrom takes messages one at a time until ctx ends.
func (c *Consumer) takeFrom(ctx, work, settling context.Context, s *source) {
	for ctx.Err() == nil {
		err := c.takeMany(ctx, work, settling, s)
		if err == nil || ctx.Err() != nil {
			return
		}
		c.repairs.after(ctx, c.log.With("lane", s.lane, "stream", s.stream), err)
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
			c.handle(ctx, work, settling, s, taken{arrival: x})
		}
	}()
	var since time.Time // when it was first not answered for
	for {
		x, err := c.next(ctx, s, p)
		switch {
		case err == nil:
			since = time.Time{}
			c.handleInTurn(ctx, work, settling, s, x)
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

// next waits for leave to take and for a message.
func (c *Consumer) next(ctx context.Context, s *source, p *puller) (x taken, err error) {
	switch alone, err := s.enter(ctx); {
	case err != nil:
		return taken{}, err
	case alone:
		return c.nextAlone(ctx, s, p)
	}
	if err := c.gate.wait(ctx); err != nil {
		return taken{}, err
	}
	if s.busy.Load() {
		if err := c.slots.acquire(ctx, s.lane); err != nil {
			return taken{}, err
		}
		if x.arrival, err = p.next(ctx, pullSlotted); err == nil {
			x.slotted = true
			return x, nil
		}
		c.slots.release(s.lane)
		if !errors.Is(err, errNoMessage) {
			return taken{}, err
		}
		s.busy.Store(false)
	}
	x.arrival, err = p.next(ctx, pullIdle)
	return x, err
}

// nextAlone waits for a message with the source's trickle in hand, which it
// keeps for the message.
func (c *Consumer) nextAlone(ctx context.Context, s *source, p *puller) (x taken, err error) {
	if err = c.gate.wait(ctx); err == nil {
		x.arrival, err = p.next(ctx, pullAlone)
	}
	if err != nil {
		s.leave(ctx, false)
		return taken{}, err
	}
	x.alone = true
	return x, nil
}

// handleInTurn settles one message, alone where there is little room: one that
// came by a pull from before that waits for its turn here.
func (c *Consumer) handleInTurn(ctx, work, settling context.Context, s *source, x taken) {
	if !x.alone {
		if narrow, _ := s.room.narrow(s.fresh); narrow && x.slotted {
			c.slots.release(s.lane)
			x.slotted = false
		}
		x.alone, _ = s.enter(ctx) // told to stop, it is handed back below
	}
	copied := c.handle(ctx, work, settling, s, x)
	if x.alone {
		s.leave(ctx, copied)
	}
}

// handle settles one message in a place of its own. It reports that something
// of it goes on, so that it has left no room behind.
func (c *Consumer) handle(ctx, work, settling context.Context, s *source, x taken) (copied bool) {
	defer x.lease.release()
	c.metrics.taken.WithLabelValues(string(s.lane)).Inc()
	c.metrics.inFlight.Inc()
	defer c.metrics.inFlight.Dec()
	if x.slotted {
		defer c.slots.release(s.lane)
	}
	meta, err := x.msg.Metadata()
	if err != nil {
		c.log.Error("read a message's delivery", "stream", s.stream, "error", err)
		return false
	}
	s.busy.Store(meta.NumPending > 0)
	h := &delivery{
		stream: meta.Stream, subject: x.msg.Subject, seq: meta.Sequence.Stream, stored: meta.Timestamp,
		header: headersOf(x.msg), body: x.msg.Data, delivered: int(meta.NumDelivered), msg: x.lease.msg, lease: x.lease,
	}
	until := ctx
	if h.requeuedOften() {
		until = work // settling puts it into a schedule where it cannot be sent now
	}
	if !x.slotted {
		if c.slots.acquire(until, s.lane) != nil {
			_ = c.nak(h, 0)
			return false
		}
		defer c.slots.release(s.lane)
	}
	switch d := c.gate.settling(); {
	case until.Err() != nil || d > 0 && sleep(until, d) != nil:
		_ = c.nak(h, 0)
	case !c.Relay.Up() && !h.requeuedOften():
		_ = c.nak(h, c.pause(h.delivered))
	default:
		c.settleSafely(work, settling, s.lane, h)
	}
	return h.copied
}

// headersOf are a message's. The client passes over those that it cannot read,
// but counts their size.
func headersOf(m *nats.Msg) nats.Header {
	if m.Header == nil && m.Size() > len(m.Subject)+len(m.Reply)+len(m.Data) {
		return nats.Header{schema.HeaderUnreadable: {nats.ErrBadHeaderMsg.Error()}}
	}
	return m.Header
}

// settleSafely keeps a message that breaks our code from breaking its
// neighbours: it is delivered again, and in the end buried unread.
func (c *Consumer) settleSafely(work, settling context.Context, lane wire.Lane, h *delivery) {
	defer func() {
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			c.log.Error("a message broke the worker; it is tried again and in the end buried unread", "lane", lane, "stream_seq", h.seq, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	err := c.settle(work, settling, lane, h)
	if err != nil && !errors.Is(err, errLeft) {
		c.metrics.left.Inc()
		c.log.Warn("message left in its stream; it is delivered again", "id", h.own.Key.ID, "lane", lane, "stream_seq", h.seq, "error", err)
	}
}

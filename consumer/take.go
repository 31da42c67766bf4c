package consumer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
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

// takeMany pulls through one iterator, until ctx ends or the iterator does.
func (c *Consumer) takeMany(ctx, work, settling context.Context, s *source) error {
	it, err := s.consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return fmt.Errorf("pull from %s: %w", s.stream, err)
	}
	// Drain lets a message through that the broker sent at the same moment.
	stop := context.AfterFunc(ctx, it.Drain)
	defer stop()
	defer it.Stop()
	for silent := 0; ; {
		msg, placed, err := c.next(ctx, s, it)
		switch {
		case err == nil:
			silent = 0
			c.handle(ctx, work, settling, s, msg, placed)
		case errors.Is(err, jetstream.ErrMsgIteratorClosed) && ctx.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// Once happens at a restart; more often the consumer may be gone.
			if silent++; silent > 2 {
				return err
			}
		case errors.Is(err, nats.ErrTimeout), ctx.Err() != nil:
		default:
			return err
		}
	}
}

// next waits for leave to take and for a message; placed reports that a place
// is held for it.
func (c *Consumer) next(ctx context.Context, s *source, it jetstream.MessagesContext) (msg jetstream.Msg, placed bool, err error) {
	if c.gate.wait(ctx, s.fresh) == nil && s.busy.Load() && c.slots.acquire(ctx, s.lane) == nil {
		msg, err = it.Next(jetstream.NextMaxWait(pullFor))
		if err == nil {
			return msg, true, nil
		}
		c.slots.release(s.lane)
		if !errors.Is(err, nats.ErrTimeout) {
			return nil, false, err
		}
		s.busy.Store(false)
	}
	msg, err = it.Next()
	return msg, false, err
}

// handle settles one message in a place of its own.
func (c *Consumer) handle(ctx, work, settling context.Context, s *source, msg jetstream.Msg, placed bool) {
	l := c.leases.hold(msg)
	defer l.release()
	c.metrics.inHand.Inc()
	defer c.metrics.inHand.Dec()
	h, err := take(msg, l)
	if err != nil {
		c.log.Error("read a message's delivery", "stream", s.stream, "error", err)
		return
	}
	if meta, err := msg.Metadata(); err == nil {
		s.busy.Store(meta.NumPending > 0)
	}
	if !placed {
		if c.slots.acquire(ctx, s.lane) != nil {
			_ = c.nak(h)
			return
		}
	}
	defer c.slots.release(s.lane)
	if ctx.Err() != nil || !c.Relay.Up() {
		_ = c.nak(h)
		return
	}
	if d := c.gate.settling(); d > 0 && sleep(ctx, d) != nil {
		_ = c.nak(h)
		return
	}
	c.settleSafely(work, settling, s.lane, h)
}

// settleSafely keeps a message that breaks our code from breaking its
// neighbours: it is delivered again, and in the end buried unread.
func (c *Consumer) settleSafely(work, settling context.Context, lane schema.Lane, h *hand) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("a message broke the worker; it is tried again and in the end buried unread", "lane", lane, "stream_seq", h.seq, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	err := c.settle(work, settling, lane, h)
	if err != nil && !errors.Is(err, errLeft) {
		c.log.Warn("message left in its stream; it is delivered again", "id", h.own.Line.ID, "lane", lane, "stream_seq", h.seq, "error", err)
	}
}

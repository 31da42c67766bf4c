package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// tryFor is how long one try of a write waits for the broker's answer.
const tryFor = 5 * time.Second

// write does a read or write at the broker until it gets an answer. A lapsed
// hand asks before every try whether its message is still there.
func (c *Consumer) write(ctx context.Context, h *delivery, try func(context.Context) error) error {
	for n := 0; ; n++ {
		err := c.stillThere(ctx, h)
		if err == nil {
			tctx, cancel := context.WithTimeout(ctx, tryFor)
			err = try(tctx)
			cancel()
		}
		if !errors.Is(err, stream.ErrAway) {
			return err
		}
		// An election answers at once with "no responders": pause.
		if serr := sleep(ctx, min(100*time.Millisecond<<min(n, 5), 2*time.Second)); serr != nil {
			return fmt.Errorf("%w: %w", errLeft, err)
		}
	}
}

// stillThere returns errGone where the hand has lapsed and its message has
// been settled by another.
func (c *Consumer) stillThere(ctx context.Context, h *delivery) error {
	if !h.expired() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	m, err := c.Store.Next(ctx, h.stream, h.subject, h.seq, time.Time{})
	if errors.Is(err, stream.ErrNotFound) || err == nil && m.Sequence != h.seq {
		return errGone
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// record is step 3: the outcomes of all recipients and all attempts so far, by
// compare-and-set against what step 1 saw. From here on nobody is sent to
// twice. The first writer wins; a second adds what it had accepted, and
// returns errAgain to go on from the winner's record, or errLeft.
func (c *Consumer) record(ctx context.Context, h *delivery, rec *wire.Record) error {
	if ackBeforeRecord {
		_ = c.ack(ctx, h)
	}
	for {
		err := c.write(ctx, h, func(ctx context.Context) error {
			seq, err := c.Journal.Set(ctx, rec, h.seenSeq, brief(rec, h.seenSeq))
			if err == nil {
				h.seen, h.seenSeq = rec, seq
			}
			return err
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errGone):
			return errors.Join(errLeft, c.merge(ctx, h, rec))
		case errors.Is(err, stream.ErrConflict):
			if err := c.overtaken(ctx, h, rec); err != nil {
				return err
			}
		case errors.Is(err, stream.ErrTooLarge) && rec.Shorten():
		case errors.Is(err, stream.ErrFull) && rec.Together == wire.StateDelivered && h.own.DeadSeq == 0:
			// A lost line of the log is better than a mail that is sent for ever.
			c.gate.full()
			c.metrics.unrecorded.Inc()
			c.log.Error("delivered, but there is no room for its record: it is acknowledged without one", "id", h.own.Key.ID, "lane", h.own.Key.Lane, "error", err)
			return nil
		case errors.Is(err, stream.ErrFull):
			if err := c.awaitRoom(ctx, h, err); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// overtaken looks at the record that stood in the way. One of an earlier hop
// only told what else was delivered: nil, try again. Else the other hand has
// decided, and we add to its record.
func (c *Consumer) overtaken(ctx context.Context, h *delivery, rec *wire.Record) error {
	var last *wire.Record
	var seq uint64
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		last, seq, err = c.Journal.Lookup(ctx, h.own.Key)
		return err
	})
	if err != nil {
		return err
	}
	if last == nil || last.Generation < h.own.Generation {
		h.seen, h.seenSeq = last, seq
		keepDelivered(rec, last)
		if !rec.Has(wire.StatePending) {
			rec.Together, rec.Event = "", ""
			conclude(rec)
		}
		return nil
	}
	c.metrics.overtaken.Inc()
	if err := c.merge(ctx, h, rec); err != nil {
		return err
	}
	if last.Has(wire.StatePending) {
		return errLeft // the other hand is at work on those
	}
	return errAgain
}

// brief reports a record that answers for nothing any more: the first of a
// line of all recipients, everything delivered, nothing to carry on, no letter
// to mark.
func brief(rec *wire.Record, expected uint64) bool {
	return expected == 0 && rec.Recipient == wire.All && rec.Together == wire.StateDelivered && rec.DeadSeq == 0
}

// roomPause is waited between tries of a write that there is no room for.
const roomPause = time.Second

// awaitRoom keeps the message in hand until the write may be tried again, while
// nothing more is taken: handed back, it would be sent again to those who have
// it already. Only a worker that is told to stop hands it back.
func (c *Consumer) awaitRoom(ctx context.Context, h *delivery, cause error) error {
	if c.gate.full() {
		c.log.Error("no room for what has to be kept of a message: it stays in hand and nothing more is taken until there is room", "id", h.own.Key.ID, "lane", h.own.Key.Lane, "error", cause)
	}
	t := time.NewTimer(roomPause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
	case <-c.gate.stopping:
	}
	return errors.Join(c.nak(h, 0), cause)
}

// writeWithRoom is [Consumer.write] that waits for room.
func (c *Consumer) writeWithRoom(ctx context.Context, h *delivery, try func(context.Context) error) error {
	for {
		err := c.write(ctx, h, try)
		if !errors.Is(err, stream.ErrFull) {
			return err
		}
		if err := c.awaitRoom(ctx, h, err); err != nil {
			return err
		}
	}
}

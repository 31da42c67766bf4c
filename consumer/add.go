package consumer

import (
	"context"
	"errors"
	"slices"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// add is what a second hand does: another one has recorded this line first, so
// what we had accepted is added to what it decided, in an order that leaves no
// moment at which it would be sent again or lie dead. It adds only to records
// that exist.
func (c *Consumer) merge(ctx context.Context, h *delivery, mine *wire.Record) error {
	for first := true; ; first = false {
		var last *wire.Record
		var seq uint64
		err := c.ask(ctx, func(ctx context.Context) (err error) {
			last, seq, err = c.Journal.Lookup(ctx, h.own.Key)
			return err
		})
		if err != nil || last == nil || holdsOwn(last, mine) {
			return err
		}
		if first {
			c.metrics.twice.Add(float64(acceptedTwice(mine, h.seen, last)))
		}
		news := additions(mine, last)
		if len(news) == 0 {
			return nil
		}
		if err := c.mergeSplits(ctx, h, last, news); err != nil {
			return err
		}
		merged := clone(last)
		dead := false
		for _, x := range news {
			y := merged.Find(x.Index)
			dead = dead || y.State == wire.StateDead
			*y = x
		}
		if dead {
			if err := c.unbury(ctx, h, last, merged); err != nil {
				return err
			}
		}
		merged.At = c.Now().UTC()
		err = c.ask(ctx, func(ctx context.Context) error {
			_, err := c.Journal.Set(ctx, merged, seq, false)
			return err
		})
		if !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// holdsOwn reports that last is our own record, written by a try whose answer was
// lost, or was made from it: it holds the transaction that mine ends with. One
// that had to be shortened holds none, and is known by its time. A transaction
// without a session needs no recognition: it delivered to nobody.
func holdsOwn(last, mine *wire.Record) bool {
	n := len(mine.Attempts)
	if n == 0 && len(last.Attempts) == 0 {
		return last.Generation == mine.Generation && last.At.Equal(mine.At)
	}
	return n > 0 && slices.ContainsFunc(last.Attempts, func(a wire.Attempt) bool {
		own := mine.Attempts[n-1]
		return own.Session != "" && a.Session == own.Session && a.Use == own.Use && a.At.Equal(own.At)
	})
}

// ask is write for a hand that has nothing left to lose.
func (c *Consumer) ask(ctx context.Context, try func(context.Context) error) error {
	return c.write(ctx, &delivery{}, try)
}

// acceptedTwice counts those that both hands had accepted: mine calls them
// delivered, what we saw before the attempt did not, and the other hand's last
// record does too.
func acceptedTwice(mine, seen, last *wire.Record) (n int) {
	for _, x := range mine.Recipients {
		delivered := func(r *wire.Record) bool {
			y := r.Find(x.Index)
			return y != nil && y.State == wire.StateDelivered
		}
		if x.State == wire.StateDelivered && delivered(last) && (seen == nil || !delivered(seen)) {
			n++
		}
	}
	return n
}

// additions are those that mine calls delivered and last does not.
func additions(mine, last *wire.Record) []wire.RecipientRecord {
	var news []wire.RecipientRecord
	for _, x := range mine.Recipients {
		y := last.Find(x.Index)
		if x.State == wire.StateDelivered && y != nil && y.State != wire.StateDelivered {
			news = append(news, x)
		}
	}
	return news
}

// addSingles tells each recipient's own line, for a look there never sees the
// record of all. It is made where there is none yet.
func (c *Consumer) mergeSplits(ctx context.Context, h *delivery, last *wire.Record, news []wire.RecipientRecord) error {
	if !h.own.Key.IsAll() {
		return nil
	}
	for _, x := range news {
		if err := c.mergeSplit(ctx, h, last, x); err != nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) mergeSplit(ctx context.Context, h *delivery, last *wire.Record, x wire.RecipientRecord) error {
	key := h.own.Key.For(x.Index)
	for {
		var rec *wire.Record
		var seq uint64
		err := c.ask(ctx, func(ctx context.Context) (err error) {
			rec, seq, err = c.Journal.Lookup(ctx, key)
			return err
		})
		if err != nil {
			return err
		}
		// letter is the hop of the recipient's own letter, should it have one,
		// even one that is only under way.
		generation, was := last.Generation+1, last.Find(x.Index).State
		if rec == nil {
			rec = clone(last)
			rec.Recipient, rec.Generation = key.Recipient, last.Generation+1
		} else {
			rec = clone(rec)
			generation = rec.Generation + 1
			if y := rec.Find(x.Index); y != nil { // nobody is named where the envelope was not read
				was = y.State
			}
		}
		if was == wire.StateDelivered {
			return nil
		}
		rec.Recipients = []wire.RecipientRecord{x}
		rec.Together, rec.Event, rec.Reason = wire.StateDelivered, wire.EventDelivered, ""
		rec.At = c.Now().UTC()
		if was == wire.StateDead {
			if err := c.mark(ctx, wire.Copy{Key: key, Generation: generation, Enqueued: h.own.Enqueued}); err != nil {
				return err
			}
		}
		err = c.ask(ctx, func(ctx context.Context) error {
			_, err := c.Journal.Set(ctx, rec, seq, false)
			return err
		})
		if !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// unbury takes those that were accepted out of the letter. A whole one holds
// others too: they are buried singly before it becomes a marker.
func (c *Consumer) unbury(ctx context.Context, h *delivery, last, merged *wire.Record) error {
	if last.Together != wire.StateDead {
		return nil // addSingles has marked each letter of its own
	}
	if h.own.Key.IsAll() {
		merged.Together = ""
		for _, x := range merged.Recipients {
			if x.State != wire.StateDead {
				continue
			}
			if err := c.bury(ctx, &delivery{}, c.deadLetterOf(h, merged, h.own.Key.For(x.Index), x)); err != nil {
				return err
			}
		}
	} else {
		merged.Together, merged.Event, merged.Reason = wire.StateDelivered, wire.EventDelivered, ""
	}
	return c.mark(ctx, wire.Copy{Key: h.own.Key, Generation: last.Generation + 1, Enqueued: h.own.Enqueued})
}

func (c *Consumer) mark(ctx context.Context, m wire.Copy) error {
	return c.ask(ctx, func(ctx context.Context) error {
		return c.DeadLetters.Mark(ctx, m, wire.EventDelivered)
	})
}

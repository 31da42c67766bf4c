package consumer

import (
	"context"
	"errors"
	"slices"

	"github.com/postrider/postrider/schema"
)

// add is what a second hand does: another one has recorded this line first, so
// what we had accepted is added to what it decided, in an order that leaves no
// moment at which it would be sent again or lie dead. It adds only to records
// that exist.
func (c *Consumer) add(ctx context.Context, h *hand, mine *schema.Record) error {
	for first := true; ; first = false {
		var last *schema.Record
		var seq uint64
		err := c.ask(ctx, func(ctx context.Context) (err error) {
			last, seq, err = c.Journal.Look(ctx, h.own.Line)
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
		if err := c.addSingles(ctx, h, last, news); err != nil {
			return err
		}
		merged := clone(last)
		dead := false
		for _, x := range news {
			y := merged.Find(x.Index)
			dead = dead || y.State == schema.StateDead
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
		if !errors.Is(err, schema.ErrConflict) {
			return err
		}
	}
}

// holdsOwn reports that last is our own record, written by a try whose answer was
// lost, or was made from it: it holds the transaction that mine ends with. One
// that had to be shortened holds none, and is known by its time. A transaction
// without a session needs no recognition: it delivered to nobody.
func holdsOwn(last, mine *schema.Record) bool {
	n := len(mine.Attempts)
	if n == 0 && len(last.Attempts) == 0 {
		return last.Hop == mine.Hop && last.At.Equal(mine.At)
	}
	return n > 0 && slices.ContainsFunc(last.Attempts, func(a schema.Attempt) bool {
		own := mine.Attempts[n-1]
		return own.Session != "" && a.Session == own.Session && a.Use == own.Use && a.At.Equal(own.At)
	})
}

// ask is write for a hand that has nothing left to lose.
func (c *Consumer) ask(ctx context.Context, try func(context.Context) error) error {
	return c.write(ctx, &hand{}, try)
}

// acceptedTwice counts those that both hands had accepted: mine calls them
// delivered, what we saw before the attempt did not, and the other hand's last
// record does too.
func acceptedTwice(mine, seen, last *schema.Record) (n int) {
	for _, x := range mine.Recipients {
		delivered := func(r *schema.Record) bool {
			y := r.Find(x.Index)
			return y != nil && y.State == schema.StateDelivered
		}
		if x.State == schema.StateDelivered && delivered(last) && (seen == nil || !delivered(seen)) {
			n++
		}
	}
	return n
}

// additions are those that mine calls delivered and last does not.
func additions(mine, last *schema.Record) []schema.RecipientRecord {
	var news []schema.RecipientRecord
	for _, x := range mine.Recipients {
		y := last.Find(x.Index)
		if x.State == schema.StateDelivered && y != nil && y.State != schema.StateDelivered {
			news = append(news, x)
		}
	}
	return news
}

// addSingles tells each recipient's own line, for a look there never sees the
// record of all. It is made where there is none yet.
func (c *Consumer) addSingles(ctx context.Context, h *hand, last *schema.Record, news []schema.RecipientRecord) error {
	if !h.own.Line.IsAll() {
		return nil
	}
	for _, x := range news {
		if err := c.addSingle(ctx, h, last, x); err != nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) addSingle(ctx context.Context, h *hand, last *schema.Record, x schema.RecipientRecord) error {
	line := h.own.Line.Single(x.Index)
	for {
		var rec *schema.Record
		var seq uint64
		err := c.ask(ctx, func(ctx context.Context) (err error) {
			rec, seq, err = c.Journal.Look(ctx, line)
			return err
		})
		if err != nil {
			return err
		}
		// letter is the hop of the recipient's own letter, should it have one,
		// even one that is only under way.
		letter, was := last.Hop+1, last.Find(x.Index).State
		if rec == nil {
			rec = clone(last)
			rec.Line, rec.Hop = line.Rcpt, last.Hop+1
		} else {
			rec = clone(rec)
			letter = rec.Hop + 1
			if y := rec.Find(x.Index); y != nil { // nobody is named where the envelope was not read
				was = y.State
			}
		}
		if was == schema.StateDelivered {
			return nil
		}
		rec.Recipients = []schema.RecipientRecord{x}
		rec.Whole, rec.Event, rec.Reason = schema.StateDelivered, schema.EventDelivered, ""
		rec.At = c.Now().UTC()
		if was == schema.StateDead {
			if err := c.mark(ctx, schema.Copy{Line: line, Hop: letter, Enqueued: h.own.Enqueued}); err != nil {
				return err
			}
		}
		err = c.ask(ctx, func(ctx context.Context) error {
			_, err := c.Journal.Set(ctx, rec, seq, false)
			return err
		})
		if !errors.Is(err, schema.ErrConflict) {
			return err
		}
	}
}

// unbury takes those that were accepted out of the letter. A whole one holds
// others too: they are buried singly before it becomes a marker.
func (c *Consumer) unbury(ctx context.Context, h *hand, last, merged *schema.Record) error {
	if last.Whole != schema.StateDead {
		return nil // addSingles has marked each letter of its own
	}
	if h.own.Line.IsAll() {
		merged.Whole = ""
		for _, x := range merged.Recipients {
			if x.State != schema.StateDead {
				continue
			}
			if err := c.bury(ctx, &hand{}, c.letterOf(h, merged, h.own.Line.Single(x.Index), x)); err != nil {
				return err
			}
		}
	} else {
		merged.Whole, merged.Event, merged.Reason = schema.StateDelivered, schema.EventDelivered, ""
	}
	return c.mark(ctx, schema.Copy{Line: h.own.Line, Hop: last.Hop + 1, Enqueued: h.own.Enqueued})
}

func (c *Consumer) mark(ctx context.Context, m schema.Copy) error {
	return c.ask(ctx, func(ctx context.Context) error {
		return c.Graveyard.Mark(ctx, m, schema.EventDelivered)
	})
}

package consumer

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/schema"
)

// carry is step 4: what lives of a record goes on as a copy, one hop on, what
// is dead as a dead letter. All together where the record says so, else each
// recipient on a line of its own. Doing it again changes nothing.
func (c *Consumer) carry(ctx context.Context, h *hand, rec *schema.Record, again bool) error {
	if h.own.DeadSeq > 0 {
		// The replayer may have died before it marked the letter.
		m := h.own
		m.Hop--
		err := c.writeWithRoom(ctx, h, func(ctx context.Context) error { return c.Graveyard.Mark(ctx, m, schema.EventReplayed) })
		if err != nil {
			return err
		}
	}
	if rec.Whole != "" {
		return c.carryLine(ctx, h, rec, h.own.Line, wholeOf(rec))
	}
	for _, x := range rec.Recipients {
		if x.State == schema.StateDelivered {
			continue
		}
		line := h.own.Line.Single(x.Index)
		if again {
			gone, err := c.further(ctx, h, line, rec.Hop+1)
			if err != nil {
				return err
			}
			if gone {
				continue
			}
		}
		if err := c.carryLine(ctx, h, rec, line, x); err != nil {
			return err
		}
	}
	return nil
}

// wholeOf stands for all recipients of a record that go on together.
func wholeOf(rec *schema.Record) schema.RecipientRecord {
	x := schema.RecipientRecord{State: rec.Whole, Reason: rec.Reason}
	for _, r := range rec.Recipients {
		if r.State == rec.Whole {
			x = r
		}
	}
	x.State = rec.Whole
	return x
}

// further reports a line whose own record has come as far as the copy that
// would be made: it has been made, and may have been settled since.
func (c *Consumer) further(ctx context.Context, h *hand, l schema.Line, hop int) (bool, error) {
	var rec *schema.Record
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		rec, _, err = c.Journal.Look(ctx, l)
		return err
	})
	return rec != nil && rec.Hop >= hop, err
}

func (c *Consumer) carryLine(ctx context.Context, h *hand, rec *schema.Record, l schema.Line, x schema.RecipientRecord) error {
	h.copied = h.copied || x.State != schema.StateDelivered
	switch x.State {
	case schema.StateLater:
		err := c.later(ctx, h, rec, l)
		if !errors.Is(err, schema.ErrTooLarge) {
			return err
		}
		// The broker does not take it back with its history: that is the
		// message's own fault, and it is kept as a letter.
		x.State, x.Reason = schema.StateDead, schema.ReasonTooLarge
		if err := c.giveUp(ctx, h, rec, l, x.Reason); err != nil {
			return err
		}
		rec = clone(rec)
		rec.Attempts = rec.Attempts[max(0, len(rec.Attempts)-1):]
	case schema.StateDead:
	default:
		return nil
	}
	return c.bury(ctx, h, c.letterOf(h, rec, l, x))
}

// giveUp changes the record of a line that was to go on: it is dead.
func (c *Consumer) giveUp(ctx context.Context, h *hand, rec *schema.Record, l schema.Line, why schema.Reason) error {
	rec.Event = schema.EventFailed
	if rec.Whole != "" {
		rec.Whole, rec.Reason = schema.StateDead, why
	}
	index, single := l.Index()
	for i := range rec.Recipients {
		x := &rec.Recipients[i]
		if x.State == schema.StateLater && (!single || x.Index == index) {
			x.State, x.Reason = schema.StateDead, why
		}
	}
	return c.record(ctx, h, rec)
}

// copyOf is the message's next hop on that line, with its history.
func copyOf(h *hand, rec *schema.Record, l schema.Line) schema.Copy {
	next := schema.Copy{
		Line: l, Hop: rec.Hop + 1, Attempts: rec.Counted, Enqueued: h.own.Enqueued,
		Log: rec.Attempts, Replays: rec.Replays, Replayed: rec.Replayed,
	}
	if i, ok := l.Index(); ok {
		next.Log = schema.LogFor(rec.Attempts, i)
	}
	return next
}

// later puts the copy that is due when the record says.
func (c *Consumer) later(ctx context.Context, h *hand, rec *schema.Record, l schema.Line) error {
	next := copyOf(h, rec, l)
	m := nats.NewMsg(l.LaterSubject())
	m.Header = next.Headers(h.header)
	schema.Schedule(m.Header, rec.Due, l)
	m.Data = h.body
	var expected uint64
	if h.subject == l.DueSubject() {
		expected = h.seq // the message in hand is the line's one copy
	}
	return c.writeWithRoom(ctx, h, func(ctx context.Context) error {
		_, _, err := c.Store.Put(ctx, m, l.CopyFilter(), expected, next.Hop)
		return err
	})
}

func (c *Consumer) letterOf(h *hand, rec *schema.Record, l schema.Line, x schema.RecipientRecord) *schema.Letter {
	sentence := rec.Error
	if sentence == "" {
		sentence = x.Words()
	}
	return &schema.Letter{
		Copy: copyOf(h, rec, l), Reason: x.Reason, Error: sentence,
		Producer: schema.ProducerHeaders(h.header), Body: h.body,
		HeadersLost: h.header[schema.HeaderUnreadable] != nil,
	}
}

func (c *Consumer) bury(ctx context.Context, h *hand, l *schema.Letter) error {
	return c.writeWithRoom(ctx, h, func(ctx context.Context) error {
		_, err := c.Graveyard.Bury(ctx, l)
		return err
	})
}

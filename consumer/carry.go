package consumer

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// carry is step 4: what lives of a record goes on as a copy, one hop on, what
// is dead as a dead letter. All together where the record says so, else each
// recipient on a line of its own. Doing it again changes nothing.
func (c *Consumer) forward(ctx context.Context, h *delivery, rec *wire.Record, again bool) error {
	if h.own.DeadSeq > 0 {
		// The replayer may have died before it marked the letter.
		m := h.own
		m.Generation--
		err := c.writeWithRoom(ctx, h, func(ctx context.Context) error { return c.DeadLetters.Mark(ctx, m, wire.EventReplayed) })
		if err != nil {
			return err
		}
	}
	if rec.Together != "" {
		return c.forwardKey(ctx, h, rec, h.own.Key, togetherOf(rec))
	}
	for _, x := range rec.Recipients {
		if x.State == wire.StateDelivered {
			continue
		}
		key := h.own.Key.For(x.Index)
		if again {
			gone, err := c.further(ctx, h, key, rec.Generation+1)
			if err != nil {
				return err
			}
			if gone {
				continue
			}
		}
		if err := c.forwardKey(ctx, h, rec, key, x); err != nil {
			return err
		}
	}
	return nil
}

// wholeOf stands for all recipients of a record that go on together.
func togetherOf(rec *wire.Record) wire.RecipientRecord {
	x := wire.RecipientRecord{State: rec.Together, Reason: rec.Reason}
	for _, r := range rec.Recipients {
		if r.State == rec.Together {
			x = r
		}
	}
	x.State = rec.Together
	return x
}

// further reports a line whose own record has come as far as the copy that
// would be made: it has been made, and may have been settled since.
func (c *Consumer) further(ctx context.Context, h *delivery, l wire.Key, generation int) (bool, error) {
	var rec *wire.Record
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		rec, _, err = c.Journal.Lookup(ctx, l)
		return err
	})
	return rec != nil && rec.Generation >= generation, err
}

func (c *Consumer) forwardKey(ctx context.Context, h *delivery, rec *wire.Record, l wire.Key, x wire.RecipientRecord) error {
	h.copied = h.copied || x.State != wire.StateDelivered
	switch x.State {
	case wire.StateScheduled:
		err := c.schedule(ctx, h, rec, l)
		if !errors.Is(err, stream.ErrTooLarge) {
			return err
		}
		// The broker does not take it back with its history: that is the
		// message's own fault, and it is kept as a letter.
		x.State, x.Reason = wire.StateDead, mail.ReasonTooLarge
		if err := c.giveUp(ctx, h, rec, l, x.Reason); err != nil {
			return err
		}
		rec = clone(rec)
		rec.Attempts = rec.Attempts[max(0, len(rec.Attempts)-1):]
	case wire.StateDead:
	default:
		return nil
	}
	return c.bury(ctx, h, c.deadLetterOf(h, rec, l, x))
}

// giveUp changes the record of a line that was to go on: it is dead.
func (c *Consumer) giveUp(ctx context.Context, h *delivery, rec *wire.Record, l wire.Key, why mail.Reason) error {
	rec.Event = wire.EventFailed
	if rec.Together != "" {
		rec.Together, rec.Reason = wire.StateDead, why
	}
	index, single := l.Index()
	for i := range rec.Recipients {
		x := &rec.Recipients[i]
		if x.State == wire.StateScheduled && (!single || x.Index == index) {
			x.State, x.Reason = wire.StateDead, why
		}
	}
	return c.record(ctx, h, rec)
}

// copyOf is the message's next hop on that line, with its history.
func copyOf(h *delivery, rec *wire.Record, l wire.Key) wire.Copy {
	next := wire.Copy{
		Key: l, Generation: rec.Generation + 1, Attempts: rec.Counted, Enqueued: h.own.Enqueued,
		Log: rec.Attempts, Replays: rec.Replays, Replayed: rec.Replayed,
	}
	if i, ok := l.Index(); ok {
		next.Log = wire.LogFor(rec.Attempts, i)
	}
	return next
}

// later puts the copy that is due when the record says.
func (c *Consumer) schedule(ctx context.Context, h *delivery, rec *wire.Record, l wire.Key) error {
	next := copyOf(h, rec, l)
	m := nats.NewMsg(l.CopySubject(wire.CopyLater))
	m.Header = next.Headers(h.header)
	wire.Schedule(m.Header, rec.Due, l)
	m.Data = h.body
	var expected uint64
	if h.subject == l.CopySubject(wire.CopyDue) {
		expected = h.seq // the message in hand is the line's one copy
	}
	return c.writeWithRoom(ctx, h, func(ctx context.Context) error {
		_, _, err := c.Store.Put(ctx, m, l.CopySubject(wire.CopyAny), expected, next.Generation)
		return err
	})
}

func (c *Consumer) deadLetterOf(h *delivery, rec *wire.Record, l wire.Key, x wire.RecipientRecord) *wire.DeadLetter {
	sentence := rec.Error
	if sentence == "" {
		sentence = x.Words()
	}
	return &wire.DeadLetter{
		Copy: copyOf(h, rec, l), Reason: x.Reason, Error: sentence,
		Producer: schema.ProducerHeaders(h.header), Body: h.body,
		HeadersLost: h.header[schema.HeaderUnreadable] != nil,
	}
}

func (c *Consumer) bury(ctx context.Context, h *delivery, l *wire.DeadLetter) error {
	return c.writeWithRoom(ctx, h, func(ctx context.Context) error {
		_, err := c.DeadLetters.Bury(ctx, l)
		return err
	})
}

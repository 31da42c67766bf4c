package settle

import (
	"cmp"
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// forward is step 4: recipients that a record schedules go on as a copy of the next
// generation, and dead ones as a dead letter. All together if the record says so,
// else each recipient under a key of its own. found is set if the record was found,
// not just written. Doing it again changes nothing.
func (s *Settler) forward(ctx context.Context, d *Delivery, rec *wire.Record, found bool) error {
	if d.copy.DeadSeq > 0 {
		// The replayer may have died before it marked its dead letter, a generation ago.
		m := d.copy
		m.Generation--
		err := s.writes.tryWithRoom(ctx, d, func(ctx context.Context) error { return s.DeadLetters.Mark(ctx, m, wire.EventReplayed) })
		if err != nil {
			return err
		}
	}
	if rec.Together != "" {
		return s.forwardKey(ctx, d, rec, d.copy.Key, rec.Shared())
	}
	for _, x := range rec.Recipients {
		if x.State == wire.StateDelivered {
			continue
		}
		k := d.copy.Key.For(x.Index)
		if found {
			// The copy may have been made, and settled since.
			own, _, err := s.writes.lookup(ctx, d, k)
			if err != nil {
				return err
			}
			if own != nil && own.Generation > rec.Generation {
				continue
			}
		}
		if err := s.forwardKey(ctx, d, rec, k, x); err != nil {
			return err
		}
	}
	return nil
}

func (s *Settler) forwardKey(ctx context.Context, d *Delivery, rec *wire.Record, k wire.Key, x wire.RecipientRecord) error {
	d.GoesOn = d.GoesOn || x.State != wire.StateDelivered
	if x.State == wire.StateScheduled {
		err := s.schedule(ctx, d, rec, k)
		if !errors.Is(err, stream.ErrTooLarge) {
			return err
		}
		// The broker does not take the message back with its history. That is the
		// message's own fault: it is dead-lettered.
		x.State, x.Reason = wire.StateDead, mail.ReasonTooLarge
		if err := s.giveUp(ctx, d, rec, k, x.Reason); err != nil {
			return err
		}
		rec = rec.Clone()
		rec.Attempts = rec.Attempts[max(0, len(rec.Attempts)-1):]
	}
	if x.State != wire.StateDead {
		return nil
	}
	return s.writes.bury(ctx, d, d.deadLetter(rec, k, x))
}

// giveUp changes the record of a key that was to go on: it is dead.
func (s *Settler) giveUp(ctx context.Context, d *Delivery, rec *wire.Record, k wire.Key, why mail.Reason) error {
	rec.Event = wire.EventFailed
	if rec.Together != "" {
		rec.Together, rec.Reason = wire.StateDead, why
	}
	index, one := k.Index()
	for i := range rec.Recipients {
		x := &rec.Recipients[i]
		if x.State == wire.StateScheduled && (!one || x.Index == index) {
			x.State, x.Reason = wire.StateDead, why
		}
	}
	return s.record(ctx, d, rec)
}

// schedule makes the copy that is due when the record says.
func (s *Settler) schedule(ctx context.Context, d *Delivery, rec *wire.Record, k wire.Key) error {
	next := rec.Next(k)
	m := nats.NewMsg(k.CopySubject(wire.CopyLater))
	m.Header = next.Headers(d.Header)
	wire.Schedule(m.Header, rec.Due, k)
	m.Data = d.Body
	var expected uint64
	if d.Subject == k.CopySubject(wire.CopyDue) {
		expected = d.Sequence // this delivery is of the key's one copy
	}
	return s.writes.tryWithRoom(ctx, d, func(ctx context.Context) error {
		_, _, err := s.Store.Put(ctx, m, k.CopySubject(wire.CopyAny), expected, next.Generation)
		return err
	})
}

func (d *Delivery) deadLetter(rec *wire.Record, k wire.Key, x wire.RecipientRecord) *wire.DeadLetter {
	return &wire.DeadLetter{
		Copy: rec.Next(k), Reason: x.Reason, Error: cmp.Or(x.Words(), rec.Error),
		Producer: schema.ProducerHeaders(d.Header), Body: d.Body,
		HeadersLost: d.Header[schema.HeaderUnreadable] != nil,
	}
}

func (w *writer) bury(ctx context.Context, d *Delivery, l *wire.DeadLetter) error {
	return w.tryWithRoom(ctx, d, func(ctx context.Context) error {
		_, err := w.DeadLetters.Bury(ctx, l)
		return err
	})
}

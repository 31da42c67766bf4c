package settle

import (
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// merge adds what mine calls delivered to what the other delivery decided. If there is
// no record of the key, it does nothing. The order is the recipients' own records, the
// dead letter, the record of all: if the worker dies in between, the recipients are
// still missing from the last one, and the next delivery that finds them accepted
// merges again. It needs no lease, because it adds only what the relay has accepted.
func (s *Settler) merge(ctx context.Context, d *Delivery, mine *wire.Record) error {
	for first := true; ; first = false {
		theirs, seq, err := s.writes.lookupAny(ctx, d)
		if err != nil || theirs == nil || mine.IsIn(theirs) {
			return err
		}
		theirs.NameDead(mine)
		news, twice := mine.Compare(d.last, theirs)
		if first {
			s.metrics.twice.Add(float64(twice))
		}
		if len(news) == 0 {
			return nil
		}
		if d.copy.Key.IsAll() {
			for _, x := range news {
				if err := s.mergeOne(ctx, d, theirs, x); err != nil {
					return err
				}
			}
		}
		merged := theirs.Clone()
		merged.Merge(news)
		if theirs.Together == wire.StateDead && theirs.Event != wire.EventDiscarded {
			if err := s.splitDeadLetter(ctx, d, theirs, merged); err != nil {
				return err
			}
		}
		if err := s.setMerged(ctx, d, merged, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// mergeOne adds to the record of the recipient's own key, or makes it: a lookup
// under that key does not see the record of all. Its dead letter, which may still be
// being made, is one generation after that record, or after theirs if the recipient has
// no record of its own.
func (s *Settler) mergeOne(ctx context.Context, d *Delivery, theirs *wire.Record, x wire.RecipientRecord) error {
	k := d.copy.Key.For(x.Index)
	for {
		own, seq, err := s.writes.lookup(ctx, d.withoutLease(), k)
		if err != nil {
			return err
		}
		rec, was, done := theirs.Clone(), theirs.Find(x.Index).State, own.DeliveredTo(x.Index)
		dead := wire.Copy{Key: k, Generation: theirs.Generation + 1, Enqueued: d.copy.Enqueued}
		rec.Recipient, rec.Generation = k.Recipient, dead.Generation
		if own != nil && !done {
			rec, was, dead.Generation = own.Clone(), wire.StateDead, own.Generation+1
			if y := own.Find(x.Index); y != nil { // it has none if its envelope was not read
				was = y.State
			}
		}
		if was == wire.StateDead {
			if err := s.markDelivered(ctx, d, dead); err != nil {
				return err
			}
		}
		if done {
			return nil
		}
		rec.Recipients = []wire.RecipientRecord{x}
		rec.Together, rec.Event, rec.Reason = wire.StateDelivered, wire.EventDelivered, ""
		if err := s.setMerged(ctx, d, rec, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// splitDeadLetter takes those who were accepted out of a dead letter. One of all
// recipients holds others too: they get dead letters of their own before it becomes a
// tombstone.
func (s *Settler) splitDeadLetter(ctx context.Context, d *Delivery, theirs, merged *wire.Record) error {
	if d.copy.Key.IsAll() {
		for _, x := range merged.Recipients {
			if x.State != wire.StateDead {
				continue
			}
			if err := s.writes.bury(ctx, d.withoutLease(), d.deadLetter(merged, d.copy.Key.For(x.Index), x)); err != nil {
				return err
			}
		}
	}
	return s.markDelivered(ctx, d, wire.Copy{Key: d.copy.Key, Generation: theirs.Generation + 1, Enqueued: d.copy.Enqueued})
}

// setMerged writes a record that something was added to.
func (s *Settler) setMerged(ctx context.Context, d *Delivery, rec *wire.Record, expected uint64) error {
	rec.At = s.Now().UTC()
	err := s.writes.tryWithRoom(ctx, d.withoutLease(), func(ctx context.Context) error {
		_, err := s.Journal.Set(ctx, rec.Key(), rec, expected, false)
		return err
	})
	if errors.Is(err, stream.ErrTooLarge) && rec.Shorten() {
		return s.setMerged(ctx, d, rec, expected)
	}
	return err
}

// markDelivered makes the dead letter of a copy a tombstone. If there is none yet, the
// tombstone keeps it from being buried.
func (s *Settler) markDelivered(ctx context.Context, d *Delivery, c wire.Copy) error {
	return s.writes.tryWithRoom(ctx, d.withoutLease(), func(ctx context.Context) error {
		return s.DeadLetters.Mark(ctx, c, wire.EventDelivered)
	})
}

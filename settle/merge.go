package settle

import (
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// merge adds what mine calls delivered to what the other delivery decided, in an
// order that leaves no moment at which it would be sent again or stay dead: the
// recipients' own records, the dead letter, the record of all. It merges only
// into records that exist. It needs no lease, because it adds only what the relay
// has accepted.
func (s *Settler) merge(ctx context.Context, d *Delivery, mine *wire.Record) error {
	for first := true; ; first = false {
		theirs, seq, err := s.writes.lookup(ctx, noLease, d.copy.Key)
		if err != nil || theirs == nil || mine.IsIn(theirs) {
			return err
		}
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
		dead := false
		for _, x := range news {
			y := merged.Find(x.Index)
			dead = dead || y.State == wire.StateDead
			*y = x
		}
		if dead {
			if err := s.unbury(ctx, d, theirs, merged); err != nil {
				return err
			}
		}
		if err := s.setMerged(ctx, merged, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// mergeOne adds to the record of the recipient's own key, or makes it: a lookup
// under that key does not see the record of all.
func (s *Settler) mergeOne(ctx context.Context, d *Delivery, theirs *wire.Record, x wire.RecipientRecord) error {
	k := d.copy.Key.For(x.Index)
	for {
		rec, seq, err := s.writes.lookup(ctx, noLease, k)
		if err != nil {
			return err
		}
		// dead is the generation of the recipient's own dead letter, should it have
		// one, even if that is still being made.
		dead, was := theirs.Generation+1, theirs.Find(x.Index).State
		if rec == nil {
			rec = theirs.Clone()
			rec.Recipient, rec.Generation = k.Recipient, theirs.Generation+1
		} else {
			rec = rec.Clone()
			dead = rec.Generation + 1
			if y := rec.Find(x.Index); y != nil { // it has none if the envelope was not read
				was = y.State
			}
		}
		if was == wire.StateDelivered {
			return nil
		}
		rec.Recipients = []wire.RecipientRecord{x}
		rec.Together, rec.Event, rec.Reason = wire.StateDelivered, wire.EventDelivered, ""
		if was == wire.StateDead {
			if err := s.markDelivered(ctx, wire.Copy{Key: k, Generation: dead, Enqueued: d.copy.Enqueued}); err != nil {
				return err
			}
		}
		if err := s.setMerged(ctx, rec, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// unbury takes those that were accepted out of the dead letter. One of all
// recipients holds others too: they get dead letters of their own before it
// becomes a tombstone.
func (s *Settler) unbury(ctx context.Context, d *Delivery, theirs, merged *wire.Record) error {
	if theirs.Together != wire.StateDead {
		return nil // mergeOne has marked the recipients' own
	}
	if d.copy.Key.IsAll() {
		merged.Together = ""
		for _, x := range merged.Recipients {
			if x.State != wire.StateDead {
				continue
			}
			if err := s.writes.bury(ctx, noLease, d.deadLetter(merged, d.copy.Key.For(x.Index), x)); err != nil {
				return err
			}
		}
	} else {
		merged.Together, merged.Event, merged.Reason = wire.StateDelivered, wire.EventDelivered, ""
	}
	return s.markDelivered(ctx, wire.Copy{Key: d.copy.Key, Generation: theirs.Generation + 1, Enqueued: d.copy.Enqueued})
}

// setMerged writes a record that something was added to.
func (s *Settler) setMerged(ctx context.Context, rec *wire.Record, expected uint64) error {
	rec.At = s.Now().UTC()
	return s.writes.try(ctx, noLease, func(ctx context.Context) error {
		_, err := s.Journal.Set(ctx, rec, expected, false)
		return err
	})
}

// markDelivered makes the dead letter of a copy a tombstone. If there is none yet, the
// tombstone keeps it from being buried.
func (s *Settler) markDelivered(ctx context.Context, c wire.Copy) error {
	return s.writes.try(ctx, noLease, func(ctx context.Context) error {
		return s.DeadLetters.Mark(ctx, c, wire.EventDelivered)
	})
}

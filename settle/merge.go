package settle

import (
	"context"
	"errors"
	"slices"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// merger adds what a second delivery had accepted to the record that another one
// wrote first.
type merger struct {
	*Parts
	writes  *writer
	metrics *metrics
}

// merge adds what mine calls delivered to what the other delivery decided, in an
// order that leaves no moment at which it would be sent again or stay dead: the
// recipients' own records, the dead letter, the record of all. It merges only
// into records that exist.
func (m *merger) merge(ctx context.Context, d *Delivery, mine *wire.Record) error {
	for first := true; ; first = false {
		theirs, seq, err := m.lookup(ctx, d.copy.Key)
		if err != nil || theirs == nil || holdsOwn(theirs, mine) {
			return err
		}
		news, twice := compare(mine, d.last, theirs)
		if first {
			m.metrics.twice.Add(float64(twice))
		}
		if len(news) == 0 {
			return nil
		}
		if d.copy.Key.IsAll() {
			for _, x := range news {
				if err := m.mergeOne(ctx, d, theirs, x); err != nil {
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
			if err := m.unbury(ctx, d, theirs, merged); err != nil {
				return err
			}
		}
		if err := m.set(ctx, merged, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// holdsOwn reports that theirs is our own record, written by a try whose answer was
// lost, or was made from it: it holds the transaction that mine ends with. One
// that had to be shortened holds none, and is known by its time. A transaction
// without a session need not be recognised: it delivered to nobody.
func holdsOwn(theirs, mine *wire.Record) bool {
	n := len(mine.Attempts)
	if n == 0 && len(theirs.Attempts) == 0 {
		return theirs.Generation == mine.Generation && theirs.At.Equal(mine.At)
	}
	return n > 0 && mine.Attempts[n-1].Session != "" && slices.ContainsFunc(theirs.Attempts, mine.Attempts[n-1].Is)
}

// compare returns the recipients that mine calls delivered and theirs does not, and
// how many the relay accepted from both deliveries: both call them delivered, and
// the record before did not.
func compare(mine, before, theirs *wire.Record) (news []wire.RecipientRecord, twice int) {
	for _, x := range mine.Recipients {
		switch {
		case x.State != wire.StateDelivered || theirs.Find(x.Index) == nil:
		case !theirs.DeliveredTo(x.Index):
			news = append(news, x)
		case !before.DeliveredTo(x.Index):
			twice++
		}
	}
	return news, twice
}

// mergeOne adds to the record of the recipient's own key, or makes it: a lookup
// under that key does not see the record of all.
func (m *merger) mergeOne(ctx context.Context, d *Delivery, theirs *wire.Record, x wire.RecipientRecord) error {
	k := d.copy.Key.For(x.Index)
	for {
		rec, seq, err := m.lookup(ctx, k)
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
			if err := m.mark(ctx, wire.Copy{Key: k, Generation: dead, Enqueued: d.copy.Enqueued}); err != nil {
				return err
			}
		}
		if err := m.set(ctx, rec, seq); !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
}

// unbury takes those that were accepted out of the dead letter. One of all
// recipients holds others too: they get dead letters of their own before it
// becomes a tombstone.
func (m *merger) unbury(ctx context.Context, d *Delivery, theirs, merged *wire.Record) error {
	if theirs.Together != wire.StateDead {
		return nil // mergeOne has marked the recipients' own
	}
	if d.copy.Key.IsAll() {
		merged.Together = ""
		for _, x := range merged.Recipients {
			if x.State != wire.StateDead {
				continue
			}
			if err := m.writes.bury(ctx, noLease, m.DeadLetters, d.deadLetter(merged, d.copy.Key.For(x.Index), x)); err != nil {
				return err
			}
		}
	} else {
		merged.Together, merged.Event, merged.Reason = wire.StateDelivered, wire.EventDelivered, ""
	}
	return m.mark(ctx, wire.Copy{Key: d.copy.Key, Generation: theirs.Generation + 1, Enqueued: d.copy.Enqueued})
}

// What a merge reads and writes needs no lease: it adds only what the relay has
// accepted.

func (m *merger) lookup(ctx context.Context, k wire.Key) (*wire.Record, uint64, error) {
	return m.writes.lookup(ctx, noLease, m.Journal, k)
}

func (m *merger) set(ctx context.Context, rec *wire.Record, expected uint64) error {
	rec.At = m.Now().UTC()
	return m.writes.try(ctx, noLease, func(ctx context.Context) error {
		_, err := m.Journal.Set(ctx, rec, expected, false)
		return err
	})
}

func (m *merger) mark(ctx context.Context, c wire.Copy) error {
	return m.writes.try(ctx, noLease, func(ctx context.Context) error {
		return m.DeadLetters.Mark(ctx, c, wire.EventDelivered)
	})
}

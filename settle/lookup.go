package settle

import (
	"context"

	"github.com/postrider/postrider/wire"
)

// lookup is step 1: what is recorded of the key, read from the stream's leader. It
// returns the record to forward if an earlier delivery recorded this generation
// and left nobody pending. Otherwise d.seen is the last record, if there is any.
//
// It is never skipped: a delivery count of one does not mean first, because a
// broker that was killed forgets deliveries.
func (s *Settler) lookup(ctx context.Context, d *Delivery, k wire.Key) (*wire.Record, error) {
	var err error
	if d.seen, d.seenSeq, err = s.writes.lookup(ctx, d, s.Journal, k); err != nil {
		return nil, err
	}
	if d.seen != nil && d.seen.Generation >= d.own.Generation {
		return settledAt(d.seen, d.own.Generation), nil
	}
	if d.Times == 1 {
		return nil, nil
	}
	// A worker may have died between record and ack so long ago that the record
	// has expired. The log still has it.
	found, err := s.Journal.Find(ctx, k, d.own.Generation, d.own.Enqueued)
	if err != nil || found == nil {
		return nil, err
	}
	done := settledAt(found, d.own.Generation)
	if done == nil {
		d.seen, d.seenSeq = found, 0
	}
	return done, nil
}

// settledAt is r if it settles that generation: it is of it, with nobody pending.
func settledAt(r *wire.Record, generation int) *wire.Record {
	if r.Generation == generation && !r.Has(wire.StatePending) {
		return r
	}
	return nil
}

// lookupUnread is lookup for a message that must not be decoded: a fresh one may
// have its id in the body.
func (s *Settler) lookupUnread(ctx context.Context, d *Delivery) (*wire.Record, error) {
	k := d.own.Key
	if d.fresh() {
		k.ID = "" // any
	}
	done, err := s.lookup(ctx, d, k)
	for _, r := range []*wire.Record{done, d.seen} {
		if r != nil {
			d.own.Key.ID = r.ID
		}
	}
	return done, err
}

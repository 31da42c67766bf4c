package settle

import (
	"cmp"
	"context"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// lookup is step 1: it reads the last record of the key from the stream's leader
// into d.last. It returns the record if that decides this generation, with nobody
// pending: then only forwarding and the ack remain.
//
// It is never skipped: a delivery count of one does not mean first, because a
// broker that was killed forgets deliveries. With a count of one only the search of the
// log is left out, which would cost too much.
func (s *Settler) lookup(ctx context.Context, d *Delivery) (done *wire.Record, err error) {
	k := d.sought()
	if d.last, d.lastSeq, err = s.writes.lookup(ctx, d, k); err != nil {
		return nil, err
	}
	if (d.Times != 1 || d.unknownGeneration) && (d.last == nil || d.last.Generation < d.copy.Generation) {
		// A worker may have died between record and ack so long ago that the record
		// has expired. The log still has it.
		var found *wire.Record
		if err = s.writes.try(ctx, d, func(ctx context.Context) (err error) {
			found, err = s.Journal.Find(ctx, k, d.copy.Generation, d.copy.Enqueued)
			return err
		}); err != nil {
			return nil, err
		}
		if found != nil {
			d.last = found
		}
	}
	if d.last == nil {
		return nil, nil
	}
	d.copy.Key.ID = d.last.ID
	if d.unknownGeneration {
		d.copy.Generation = d.last.Generation
		if d.last.Has(wire.StateScheduled) && !d.last.Has(wire.StatePending) {
			d.copy.Generation++ // this is the copy that was scheduled
		}
	}
	if d.last.Generation == d.copy.Generation && !d.last.Has(wire.StatePending) {
		return d.last, nil
	}
	return nil, nil
}

// sought is the key by which the message's records are read and compared: without an id
// if they may be under another one. It may be in the body alone, and an older worker did not
// find it there, or the message was buried undecoded after this delivery's lease had expired.
func (d *Delivery) sought() wire.Key {
	k := d.copy.Key
	if d.fresh() && (!d.decoded || d.bad != nil && d.Times != 1 || d.leaseExpired() && k.ID != cmp.Or(schema.HeaderID(d.Header), k.Origin)) {
		k.ID = ""
	}
	return k
}

package deadletter

import (
	"context"

	"github.com/postrider/postrider/wire"
)

// amend writes the record that act makes of the last one, unless the dead letter is
// settled. The result is the record that is there in the end.
func (q *Queue) amend(ctx context.Context, f *Found, act func(*Found, *wire.Record) *wire.Record) (*wire.Record, error) {
	return q.journal.Amend(ctx, f.Key, func(last *wire.Record) *wire.Record {
		if settled(last, f) {
			return nil
		}
		return act(f, last)
	})
}

// settled reports that an operator or a worker has already decided about this
// generation of the key or a higher one, or that all recipients were delivered.
func settled(last *wire.Record, f *Found) bool {
	return last != nil && (last.Generation >= f.Generation || last.Delivered())
}

// act is the record of what an operator does to a dead letter, at the generation
// of the dead letter. It is made from the last record of the key or, if that has
// expired, from the dead letter itself.
func (q *Queue) act(f *Found, last *wire.Record, event wire.Event) *wire.Record {
	rec := last
	if rec == nil {
		rec = &wire.Record{
			V: wire.RecordVersion, ID: f.Key.ID, Origin: f.Key.Origin, Lane: f.Key.Lane, Recipient: f.Key.Recipient,
			Enqueued: f.Enqueued, Size: int64(len(f.Body)), Attempts: f.Log,
		}
		for _, r := range f.Recipients {
			rec.Recipients = append(rec.Recipients, wire.RecipientRecord{Address: r.Address, Index: r.Index, State: wire.StateDead})
		}
	}
	rec.Generation, rec.Event, rec.Reason, rec.Error = f.Generation, event, "", ""
	rec.At, rec.DeadSeq = q.now().UTC(), f.Seq
	return rec
}

package settle

import (
	"cmp"
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// record is step 3: the outcomes of all recipients and all attempts so far, by
// compare-and-set against the last record that this delivery knows. No delivery that
// reads it sends again to those whom it calls delivered. If another delivery of the
// message recorded first, see overtaken.
func (s *Settler) record(ctx context.Context, d *Delivery, rec *wire.Record) error {
	for {
		err := s.writes.try(ctx, d, func(ctx context.Context) error {
			seq, err := s.Journal.Set(ctx, d.sought(), rec, d.lastSeq, d.lastSeq == 0 && rec.Final())
			if err == nil {
				d.last, d.lastSeq = rec.Clone(), seq
			}
			return err
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errGone):
			return cmp.Or(s.merge(ctx, d, rec), errGone)
		case errors.Is(err, stream.ErrConflict):
			if err := s.overtaken(ctx, d, rec); err != nil {
				return err
			}
		case errors.Is(err, stream.ErrTooLarge) && rec.Shorten():
		case errors.Is(err, stream.ErrFull) && rec.Together == wire.StateDelivered && d.copy.DeadSeq == 0:
			// A missing entry of the log is better than a message that is sent for ever.
			s.Full()
			s.metrics.unrecorded.Inc()
			s.Log.Error("message delivered and acknowledged without a record: there is no room for it", "id", d.copy.Key.ID, "lane", d.copy.Key.Lane, "error", err)
			return nil
		case errors.Is(err, stream.ErrFull):
			if err := s.writes.awaitRoom(ctx, d, err); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// overtaken reads the record that another delivery wrote first. It returns nil if rec
// is to be written after it, with what it adds:
//
//   - one of an earlier generation tells who else was delivered to;
//   - one of this generation that leaves recipients pending decides nothing yet, so
//     nothing of it was forwarded. We go on from it; the worker whose lease has expired
//     can send no more.
//
// Any other has decided. We merge what the relay accepted from us, and begin again
// from that record.
func (s *Settler) overtaken(ctx context.Context, d *Delivery, rec *wire.Record) error {
	if d.bad != nil {
		return errAgain // nothing was sent
	}
	last, seq, err := s.writes.lookupAny(ctx, d)
	rec.ID = d.copy.Key.ID
	switch {
	case err != nil:
		return err
	case last == nil || last.Generation < rec.Generation:
		rec.TakeOver(last)
	case last.Generation == rec.Generation && last.Has(wire.StatePending):
		if d.Handle == nil {
			return ErrLeft // to the delivery that is being settled
		}
		s.metrics.overtaken.Inc()
		_, twice := rec.Compare(d.last, last)
		s.metrics.twice.Add(float64(twice))
		rec.GoOnFrom(last)
	default:
		s.metrics.overtaken.Inc()
		return cmp.Or(s.merge(ctx, d, rec), errAgain)
	}
	d.last, d.lastSeq = last, seq
	return nil
}

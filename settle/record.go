package settle

import (
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// record is step 3: the outcomes of all recipients and all attempts so far, by
// compare-and-set against what step 1 saw. From here on nobody is sent to twice.
// The first writer wins. A second merges what it had accepted, and returns
// errAgain to continue from the winner's record, or ErrLeft.
func (s *Settler) record(ctx context.Context, d *Delivery, rec *wire.Record) error {
	for {
		err := s.writes.try(ctx, d, func(ctx context.Context) error {
			seq, err := s.Journal.Set(ctx, rec, d.seenSeq, brief(rec, d.seenSeq))
			if err == nil {
				d.seen, d.seenSeq = rec, seq
			}
			return err
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errGone):
			return errors.Join(ErrLeft, s.merger.merge(ctx, d, rec))
		case errors.Is(err, stream.ErrConflict):
			if err := s.overtaken(ctx, d, rec); err != nil {
				return err
			}
		case errors.Is(err, stream.ErrTooLarge) && rec.Shorten():
		case errors.Is(err, stream.ErrFull) && rec.Together == wire.StateDelivered && d.own.DeadSeq == 0:
			// A missing entry of the log is better than a message that is sent for ever.
			s.Full()
			s.metrics.unrecorded.Inc()
			s.Log.Error("message delivered and acknowledged without a record: there is no room for it", "id", d.own.Key.ID, "lane", d.own.Key.Lane, "error", err)
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

// overtaken reads the record that was written first. If it is of an earlier
// generation, it only told what else was delivered: nil, try again. Otherwise the
// other delivery has decided, and we merge.
func (s *Settler) overtaken(ctx context.Context, d *Delivery, rec *wire.Record) error {
	last, seq, err := s.writes.lookup(ctx, d, s.Journal, d.own.Key)
	if err != nil {
		return err
	}
	if last == nil || last.Generation < d.own.Generation {
		d.seen, d.seenSeq = last, seq
		rec.KeepDelivered(last)
		if !rec.Has(wire.StatePending) {
			rec.Together, rec.Event = "", ""
			rec.Conclude()
		}
		return nil
	}
	s.metrics.overtaken.Inc()
	if err := s.merger.merge(ctx, d, rec); err != nil {
		return err
	}
	if last.Has(wire.StatePending) {
		return ErrLeft // the other delivery sends to those
	}
	return errAgain
}

// brief reports a record that nothing depends on any more: the first of its key,
// of all recipients, everything delivered, nothing to forward, no dead letter to
// mark.
func brief(rec *wire.Record, expected uint64) bool {
	return expected == 0 && rec.Recipient == wire.All && rec.Together == wire.StateDelivered && rec.DeadSeq == 0
}

package settle

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// crashLoop is the number of deliveries without a record after which a message is
// assumed to crash workers, and is buried undecoded.
const crashLoop = 16

// settleCrashLoop continues from a record if there is one; otherwise the message
// is buried undecoded. It returns false if it is no crash loop after all: a worker
// has recorded since that it only had to requeue the message.
func (s *Settler) settleCrashLoop(ctx context.Context, d *Delivery) (settled bool, err error) {
	done, err := s.lookupUnread(ctx, d)
	switch {
	case err != nil:
		return false, err
	case done != nil:
		return true, s.finish(ctx, d, done, true)
	case d.seen != nil && d.seen.Generation > d.own.Generation:
		return true, s.ack(ctx, d)
	}
	n := d.Times
	if d.seen != nil && d.seen.Generation == d.own.Generation {
		n -= d.seen.Delivery
	}
	if n < crashLoop {
		return false, nil
	}
	return true, s.buryUnread(ctx, d, mail.ReasonCrashLoop,
		fmt.Sprintf("delivered %d times without a record: it may crash workers, so it was not decoded", n))
}

// buryUnread buries a message without decoding its body.
func (s *Settler) buryUnread(ctx context.Context, d *Delivery, why mail.Reason, sentence string) error {
	if d.own.Key.Origin == "" {
		// The headers of this copy cannot be trusted; its subject names the key. If
		// that is not a key of ours, the message gets one of its own.
		k, err := wire.ParseKey(d.Subject)
		if err != nil {
			k = wire.FreshKey(d.Lane, d.Stored, d.Sequence)
		}
		d.own = wire.Copy{Key: k, Enqueued: d.Stored}
	}
	if d.seen == nil {
		var err error
		if d.seen, d.seenSeq, err = s.Journal.Lookup(ctx, d.own.Key); err != nil {
			return err
		}
	}
	rec := d.draft(s.Now())
	if d.seen != nil {
		// Some recipients may have been accepted: they must not be dead-lettered.
		rec.Recipients = d.seen.Clone().Recipients
	}
	for i := range rec.Recipients {
		if rec.Recipients[i].State != wire.StateDelivered {
			rec.Recipients[i].State, rec.Recipients[i].Reason = wire.StateDead, why
		}
	}
	rec.Together, rec.Reason, rec.Error, rec.Event = "", why, mail.Sentence(sentence, mail.MaxError), wire.EventFailed
	if len(rec.Recipients) == 0 {
		rec.Together = wire.StateDead
	}
	rec.Conclude()
	if err := s.record(ctx, d, rec); err != nil {
		return err
	}
	return s.finish(ctx, d, rec, false)
}

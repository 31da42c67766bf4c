package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// ErrSettled: the dead letter is dead no longer, because somebody has replayed
// or discarded it since it was read, or because it was delivered after all.
var ErrSettled = errors.New("it is no longer dead: it was replayed or discarded, or delivered after all")

// ErrTooOften: the dead letter has been replayed as often as is allowed.
var ErrTooOften = errors.New("it has been replayed too often")

// ErrSameBytes: its envelope is what is wrong with it, and a replay would send the
// same one.
var ErrSameBytes = errors.New("its envelope is refused, and a replay would send the same one: correct it and publish it again")

// Replay sends the message again to those of its recipients that are dead, with a
// new budget of attempts and age. However often it is called, and by how many,
// the message goes out once. It fails with [ErrSettled] or, if it was replayed
// maxReplays times already, [ErrTooOften], or if its envelope was refused,
// [ErrSameBytes], and with the errors of package stream.
//
// The order is: the record, the copy, the tombstone. If it stops in between,
// nothing is lost and a second call goes on.
func (q *Queue) Replay(ctx context.Context, f *Found, maxReplays int) error {
	if f.Replays >= maxReplays {
		return fmt.Errorf("replay %s: %w: %d times; a higher POSTRIDER_MAX_REPLAYS allows it", f.Key, ErrTooOften, f.Replays)
	}
	if err := f.Unwritable(); err != nil {
		// Checked first: after the record of a replay it could not be discarded.
		return fmt.Errorf("replay %s: %w: publish the mail anew, and discard the dead letter", f.Key, err)
	}
	if f.Reason == mail.ReasonBadEnvelope || f.Reason == mail.ReasonLoop {
		return fmt.Errorf("replay %s: %w", f.Key, ErrSameBytes)
	}
	rec, err := q.amend(ctx, f, q.replayed)
	if err != nil {
		return fmt.Errorf("replay %s: %w", f.Key, err)
	}
	if rec.Generation != f.Generation || rec.Event != wire.EventReplayed {
		// Whoever decided may have stopped before the tombstone.
		became := wire.EventReplayed
		if rec.Generation == f.Generation && rec.Event == wire.EventDiscarded {
			became = rec.Event
		}
		if err := q.Mark(ctx, f.Copy, became); err != nil {
			return err
		}
		return fmt.Errorf("replay %s: %w", f.Key, ErrSettled)
	}
	c := f.Next()
	c.Attempts, c.DeadSeq, c.Replays, c.Replayed = 0, f.Seq, rec.Replays, rec.Replayed
	m := nats.NewMsg(c.Key.CopySubject(wire.CopyLater))
	m.Header = c.Headers(f.Producer)
	wire.Schedule(m.Header, rec.Due, c.Key)
	m.Data = f.Body
	if _, _, err := stream.Put(ctx, q.store, m, c.Key.CopySubject(wire.CopyAny), 0, c.Generation); err != nil {
		return fmt.Errorf("replay %s: %w", f.Key, err)
	}
	return q.Mark(ctx, f.Copy, wire.EventReplayed)
}

// replayed is the record of the replay.
func (q *Queue) replayed(f *Found, last *wire.Record) *wire.Record {
	rec := q.act(f, last, wire.EventReplayed)
	rec.Due, rec.Replayed, rec.Replays = rec.At, rec.At, f.Replays+1
	rec.Counted, rec.Together = 0, wire.StateScheduled
	for i := range rec.Recipients {
		if x := &rec.Recipients[i]; x.State != wire.StateDelivered {
			x.State, x.Reason, x.HangUps = wire.StateScheduled, "", 0
		}
	}
	return rec
}

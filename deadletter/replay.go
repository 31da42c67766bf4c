package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/wire"
)

// ErrSettled: the letter needs no replay, because its line has gone on since
// it was read.
var ErrSettled = errors.New("it is dead no longer")

// ErrTooOften: the letter has been replayed as often as is allowed.
var ErrTooOften = errors.New("it has been replayed too often")

// Replay gives the letter a fresh budget and sends it again, to those of its
// recipients who are dead. However often it is asked, and by how many, the
// letter goes out once. In this order, so that an end in between loses nothing:
// the record, the copy, the marker.
func (g *Queue) Replay(ctx context.Context, f *Found, maxReplays int) error {
	if f.Replays >= maxReplays {
		return fmt.Errorf("replay %s: %w: %d times; a higher MAX_REPLAYS allows it", f.Key, ErrTooOften, f.Replays)
	}
	if err := f.Unwritable(); err != nil {
		// Once the record says replayed the letter could not be discarded either.
		return fmt.Errorf("replay %s: %w: publish the mail anew, and discard the letter", f.Key, err)
	}
	rec, err := g.decide(ctx, f, g.replayed)
	if err != nil {
		return fmt.Errorf("replay %s: %w", f.Key, err)
	}
	if rec.Generation != f.Generation || rec.Event != wire.EventReplayed {
		// Whoever went before may have died before it marked the letter.
		became := wire.EventReplayed
		if rec.Generation == f.Generation && rec.Event == wire.EventDiscarded {
			became = rec.Event
		}
		if err := g.Mark(ctx, f.Copy, became); err != nil {
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
	if _, _, err := g.streams.Put(ctx, m, c.Key.CopySubject(wire.CopyAny), 0, c.Generation); err != nil {
		return fmt.Errorf("replay %s: %w", f.Key, err)
	}
	return g.Mark(ctx, f.Copy, wire.EventReplayed)
}

// replayed is the record of the replay, from the line's last one, or where
// that is gone from the letter itself.
func (g *Queue) replayed(f *Found, last *wire.Record) *wire.Record {
	rec := g.act(f, last, wire.EventReplayed)
	rec.Due, rec.Replayed, rec.Replays = rec.At, rec.At, f.Replays+1
	rec.Counted, rec.Together = 0, wire.StateScheduled
	for i := range rec.Recipients {
		if rec.Recipients[i].State != wire.StateDelivered {
			rec.Recipients[i].State, rec.Recipients[i].Reason = wire.StateScheduled, ""
		}
	}
	return rec
}

// act is the record of what an operator did to the letter, at the letter's hop.
func (g *Queue) act(f *Found, last *wire.Record, event wire.Event) *wire.Record {
	rec := &wire.Record{
		V: wire.RecordVersion, ID: f.Key.ID, Origin: f.Key.Origin, Lane: f.Key.Lane, Recipient: f.Key.Recipient,
		Enqueued: f.Enqueued, Size: int64(len(f.Body)), Attempts: f.Log,
	}
	if last != nil {
		*rec = *last
		rec.Recipients = append([]wire.RecipientRecord(nil), last.Recipients...)
	} else {
		for _, r := range f.Recipients {
			rec.Recipients = append(rec.Recipients, wire.RecipientRecord{Address: r.Address, Index: r.Index, State: wire.StateDead})
		}
	}
	rec.Generation, rec.Event, rec.Reason, rec.Error = f.Generation, event, "", ""
	rec.At, rec.DeadSeq = g.now().UTC(), f.Seq
	return rec
}

package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/schema"
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
func (g *Graveyard) Replay(ctx context.Context, f *Found, maxReplays int) error {
	if f.Replays >= maxReplays {
		return fmt.Errorf("replay %s: %w: %d times; a higher MAX_REPLAYS allows it", f.Line, ErrTooOften, f.Replays)
	}
	if err := f.Unwritable(); err != nil {
		// Once the record says replayed the letter could not be discarded either.
		return fmt.Errorf("replay %s: %w: publish the mail anew, and discard the letter", f.Line, err)
	}
	rec, err := g.decide(ctx, f, g.replayed)
	if err != nil {
		return fmt.Errorf("replay %s: %w", f.Line, err)
	}
	if rec.Hop != f.Hop || rec.Event != schema.EventReplayed {
		// Whoever went before may have died before it marked the letter.
		became := schema.EventReplayed
		if rec.Hop == f.Hop && rec.Event == schema.EventDiscarded {
			became = rec.Event
		}
		if err := g.Mark(ctx, f.Copy, became); err != nil {
			return err
		}
		return fmt.Errorf("replay %s: %w", f.Line, ErrSettled)
	}
	c := f.Next()
	c.Attempts, c.DeadSeq, c.Replays, c.Replayed = 0, f.Seq, rec.Replays, rec.Replayed
	m := nats.NewMsg(c.Line.LaterSubject())
	m.Header = c.Headers(f.Producer)
	schema.Schedule(m.Header, rec.Due, c.Line)
	m.Data = f.Body
	if _, _, err := g.store.Put(ctx, m, c.Line.CopyFilter(), 0, c.Hop); err != nil {
		return fmt.Errorf("replay %s: %w", f.Line, err)
	}
	return g.Mark(ctx, f.Copy, schema.EventReplayed)
}

// replayed is the record of the replay, from the line's last one, or where
// that is gone from the letter itself.
func (g *Graveyard) replayed(f *Found, last *schema.Record) *schema.Record {
	rec := g.act(f, last, schema.EventReplayed)
	rec.Due, rec.Replayed, rec.Replays = rec.At, rec.At, f.Replays+1
	rec.Counted, rec.Whole = 0, schema.StateLater
	for i := range rec.Recipients {
		if rec.Recipients[i].State != schema.StateDelivered {
			rec.Recipients[i].State, rec.Recipients[i].Reason = schema.StateLater, ""
		}
	}
	return rec
}

// act is the record of what an operator did to the letter, at the letter's hop.
func (g *Graveyard) act(f *Found, last *schema.Record, event schema.Event) *schema.Record {
	rec := &schema.Record{
		V: schema.RecordVersion, ID: f.Line.ID, Origin: f.Line.Origin, Lane: f.Line.Lane, Line: f.Line.Rcpt,
		Enqueued: f.Enqueued, Size: int64(len(f.Body)), Attempts: f.Log,
	}
	if last != nil {
		*rec = *last
		rec.Recipients = append([]schema.RecipientRecord(nil), last.Recipients...)
	} else {
		for _, r := range f.Recipients {
			rec.Recipients = append(rec.Recipients, schema.RecipientRecord{Address: r.Address, Index: r.Index, State: schema.StateDead})
		}
	}
	rec.Hop, rec.Event, rec.Reason, rec.Error = f.Hop, event, "", ""
	rec.At, rec.DeadSeq = g.now().UTC(), f.Seq
	return rec
}

package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/wire"
)

// ErrReplaying: the letter is being replayed, or a replayer died on the way.
var ErrReplaying = errors.New("it is being replayed: if it still is in the list in a minute, replay it to go on")

// Discard gives a letter up: it is dead no longer, and nobody will send it. Of
// several operators, replaying and discarding, the first to write the record
// decides. In this order, so that an end in between can be gone on from: the
// record, the marker. The letter's body is gone with the marker; its log stays.
func (g *Queue) Discard(ctx context.Context, f *Found) error {
	last, err := g.decide(ctx, f, g.discarded)
	switch {
	case err != nil:
		return fmt.Errorf("discard %s: %w", f.Key, err)
	case last.Generation == f.Generation && last.Event == wire.EventReplayed:
		// The copy may not be there yet, and then the letter is all there is.
		return fmt.Errorf("discard %s: %w", f.Key, ErrReplaying)
	case last.Generation == f.Generation && last.Event == wire.EventDiscarded:
		return g.Mark(ctx, f.Copy, wire.EventDiscarded)
	}
	// It was delivered after all, or replayed and taken by a worker.
	if err := g.Mark(ctx, f.Copy, wire.EventReplayed); err != nil {
		return err
	}
	return fmt.Errorf("discard %s: %w", f.Key, ErrSettled)
}

// discarded is the record of it.
func (g *Queue) discarded(f *Found, last *wire.Record) *wire.Record {
	rec := g.act(f, last, wire.EventDiscarded)
	// Each for itself from here on: should one turn out to have been accepted,
	// the others are not to be buried again.
	rec.Together = ""
	return rec
}

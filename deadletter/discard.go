package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/wire"
)

// ErrReplaying: the dead letter is being replayed, or a replay of it stopped
// half way.
var ErrReplaying = errors.New("it is being replayed: if it is still in the list in a minute, replay it again to finish")

// Discard gives a dead letter up: it will not be sent. Its body is lost, its log
// is kept. Of several operators who replay or discard it, the first to write the
// record decides. It fails with [ErrReplaying] or [ErrSettled], and with the
// errors of package stream.
//
// The order is: the record, then the tombstone. If it stops in between, a second
// call goes on.
func (q *Queue) Discard(ctx context.Context, f *Found) error {
	last, err := q.amend(ctx, f, q.discarded)
	switch {
	case err != nil:
		return fmt.Errorf("discard %s: %w", f.Key, err)
	case last.Generation == f.Generation && last.Event == wire.EventReplayed:
		// The copy may not exist yet. Then the dead letter is all there is.
		return fmt.Errorf("discard %s: %w", f.Key, ErrReplaying)
	case last.Generation == f.Generation && last.Event == wire.EventDiscarded:
		return q.Mark(ctx, f.Copy, wire.EventDiscarded)
	}
	// It was delivered after all, or replayed and taken by a worker.
	if err := q.Mark(ctx, f.Copy, wire.EventReplayed); err != nil {
		return err
	}
	return fmt.Errorf("discard %s: %w", f.Key, ErrSettled)
}

// discarded is the record of it.
func (q *Queue) discarded(f *Found, last *wire.Record) *wire.Record {
	rec := q.act(f, last, wire.EventDiscarded)
	// The recipients are no longer together: if one turns out to have been
	// delivered, the others must not be buried again.
	rec.Together = ""
	return rec
}

// Package deadletter keeps what failed for good: it buries, finds, replays and
// discards dead letters. A dead letter is never deleted. What is no longer dead
// becomes a tombstone without a body, so that a late delivery cannot bury it
// again.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Store reads and writes streams, as a [stream.Store] does. Its errors are those
// of package stream.
type Store interface {
	// Last is the last message whose subject matches; [stream.ErrNotFound].
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	// Next is the first message whose subject matches, from seq on or, if seq is
	// 0, from that time on; [stream.ErrNotFound].
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
	// Set publishes m if the last sequence on filter is the expected one, 0 for
	// none; [stream.ErrConflict].
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
}

// Journal is the record of each key, as a journal.Journal keeps it.
type Journal interface {
	// Amend writes the record that change makes of the last one of the key, nil for
	// none, or nothing if change returns nil. It returns the record that is there in
	// the end.
	Amend(ctx context.Context, k wire.Key, change func(last *wire.Record) *wire.Record) (*wire.Record, error)
}

// Queue is the queue of dead letters. Its methods may be called concurrently, by
// any number of processes.
type Queue struct {
	store   Store
	journal Journal
	now     func() time.Time
}

// New is a queue on that store. now is the broker's clock.
func New(s Store, j Journal, now func() time.Time) *Queue {
	return &Queue{store: s, journal: j, now: now}
}

// Bury stores a dead letter and returns its sequence in MAIL_DEAD, or that of
// what is there already: the dead letter itself, one of a higher generation, or
// a tombstone. So doing it again changes nothing. It fails with
// [stream.ErrFull], [stream.ErrTooLarge] or [stream.ErrAway].
func (q *Queue) Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error) {
	m := message(l)
	seq, _, err := stream.Put(ctx, q.store, m, m.Subject, 0, l.Generation)
	if err != nil {
		return 0, fmt.Errorf("bury %s: %w", l.Key, err)
	}
	return seq, nil
}

// Mark replaces the dead letter of c's key by a tombstone that says what became
// of it, unless its generation is higher than c's. If there is no dead letter
// yet, the tombstone is stored all the same: a burial that is still going on
// finds it and stores nothing. It fails as [Queue.Bury] does.
func (q *Queue) Mark(ctx context.Context, c wire.Copy, event wire.Event) error {
	for {
		var at uint64
		old, err := q.store.Last(ctx, wire.StreamDead, c.Key.DeadSubject())
		switch {
		case errors.Is(err, stream.ErrNotFound):
		case err != nil:
			return fmt.Errorf("mark the dead letter of %s: %w", c.Key, err)
		default:
			l, err := wire.ParseDeadLetter(c.Key.Lane, old.Header, old.Data)
			if err != nil {
				return fmt.Errorf("mark the dead letter of %s: %w", c.Key, err)
			}
			if l.Generation > c.Generation || l.Generation == c.Generation && l.Tombstone != "" {
				return nil
			}
			at = old.Sequence
		}
		m := message(&wire.DeadLetter{Copy: c, Tombstone: event})
		_, err = q.store.Set(ctx, m, m.Subject, at)
		if err == nil {
			return nil
		}
		if !errors.Is(err, stream.ErrConflict) {
			return fmt.Errorf("mark the dead letter of %s: %w", c.Key, err)
		}
	}
}

func message(l *wire.DeadLetter) *nats.Msg {
	m := nats.NewMsg(l.Key.DeadSubject())
	h, body := l.Message()
	m.Header, m.Data = h, body
	return m
}

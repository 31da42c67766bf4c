// Package deadletter keeps what failed for good: it buries letters, finds
// them, and replays them. A letter is never deleted; what is no longer dead
// becomes a marker without a body, so that a late hand cannot bury it again.
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

// Store reads and writes MAIL_DEAD. Its errors are those of package schema.
type streams interface {
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
	// Put publishes m unless a message on filter has come as far as hop; what
	// has not is replaced. It reports the sequence of what stands there.
	Put(ctx context.Context, m *nats.Msg, filter string, expected uint64, generation int) (seq uint64, already bool, err error)
}

// Journal is the record of each line.
type Journal interface {
	Lookup(ctx context.Context, l wire.Key) (*wire.Record, uint64, error)
	Set(ctx context.Context, r *wire.Record, expected uint64, brief bool) (uint64, error)
}

// Graveyard holds the dead letters.
type Queue struct {
	streams streams
	journal Journal
	now     func() time.Time
}

// New is a graveyard on that store. now is the broker's clock.
func New(s streams, j Journal, now func() time.Time) *Queue {
	return &Queue{streams: s, journal: j, now: now}
}

// Bury puts the letter, unless it or a later one of its line is there, or a
// marker says that it is dead no longer. Doing it again changes nothing.
func (g *Queue) Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error) {
	m := message(l)
	seq, _, err := g.streams.Put(ctx, m, m.Subject, 0, l.Generation)
	if err != nil {
		return 0, fmt.Errorf("bury %s: %w", l.Key, err)
	}
	return seq, nil
}

// Mark turns the letter of c's line, up to c's hop, into a marker: what became
// of it is event. Where there is no letter yet the marker is put all the same,
// so that one which is under way finds it.
func (g *Queue) Mark(ctx context.Context, c wire.Copy, event wire.Event) error {
	for {
		var at uint64
		old, err := g.streams.Last(ctx, wire.StreamDead, c.Key.DeadSubject())
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
		_, err = g.streams.Set(ctx, m, m.Subject, at)
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

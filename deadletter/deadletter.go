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

	"github.com/postrider/postrider/schema"
)

// Store reads and writes MAIL_DEAD. Its errors are those of package schema.
type Store interface {
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
	// Put publishes m unless a message on filter has come as far as hop; what
	// has not is replaced. It reports the sequence of what stands there.
	Put(ctx context.Context, m *nats.Msg, filter string, expected uint64, hop int) (seq uint64, already bool, err error)
}

// Journal is the record of each line.
type Journal interface {
	Look(ctx context.Context, l schema.Line) (*schema.Record, uint64, error)
	Set(ctx context.Context, r *schema.Record, expected uint64, brief bool) (uint64, error)
}

// Graveyard holds the dead letters.
type Graveyard struct {
	store   Store
	journal Journal
	now     func() time.Time
}

// New is a graveyard on that store. now is the broker's clock.
func New(s Store, j Journal, now func() time.Time) *Graveyard {
	return &Graveyard{store: s, journal: j, now: now}
}

// Bury puts the letter, unless it or a later one of its line is there, or a
// marker says that it is dead no longer. Doing it again changes nothing.
func (g *Graveyard) Bury(ctx context.Context, l *schema.Letter) (uint64, error) {
	m := message(l)
	seq, _, err := g.store.Put(ctx, m, m.Subject, 0, l.Hop)
	if err != nil {
		return 0, fmt.Errorf("bury %s: %w", l.Line, err)
	}
	return seq, nil
}

// Mark turns the letter of c's line, up to c's hop, into a marker: what became
// of it is event. Where there is no letter yet the marker is put all the same,
// so that one which is under way finds it.
func (g *Graveyard) Mark(ctx context.Context, c schema.Copy, event schema.Event) error {
	for {
		var at uint64
		old, err := g.store.Last(ctx, schema.StreamDead, c.Line.DeadSubject())
		switch {
		case errors.Is(err, schema.ErrNotFound):
		case err != nil:
			return fmt.Errorf("mark the dead letter of %s: %w", c.Line, err)
		default:
			l, err := schema.ParseLetter(c.Line.Lane, old.Header, old.Data)
			if err != nil {
				return fmt.Errorf("mark the dead letter of %s: %w", c.Line, err)
			}
			if l.Hop > c.Hop || l.Hop == c.Hop && l.Marker != "" {
				return nil
			}
			at = old.Sequence
		}
		m := message(&schema.Letter{Copy: c, Marker: event})
		_, err = g.store.Set(ctx, m, m.Subject, at)
		if err == nil {
			return nil
		}
		if !errors.Is(err, schema.ErrConflict) {
			return fmt.Errorf("mark the dead letter of %s: %w", c.Line, err)
		}
	}
}

func message(l *schema.Letter) *nats.Msg {
	m := nats.NewMsg(l.Line.DeadSubject())
	h, body := l.Message()
	m.Header, m.Data = h, body
	return m
}

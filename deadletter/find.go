package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Filter selects dead letters; its zero value selects all.
type Filter struct {
	Lane   wire.Lane
	Reason mail.Reason
	// Recipient is an address, or "@domain" for all of a domain.
	Recipient string
	// Since and Until bound the time of burial.
	Since, Until time.Time
}

// Found is a dead letter where it lies.
type Found struct {
	*wire.DeadLetter
	Seq uint64
	At  time.Time
	// Recipients are those that are dead; none where the envelope could not be read.
	Recipients []mail.Recipient
}

// All yields the letters that the filter selects, oldest first. It ends at the
// first error, which it yields.
func (g *Queue) All(ctx context.Context, f Filter) iter.Seq2[*Found, error] {
	return g.each(ctx, f.subject(), f)
}

// ByID yields the letters of that id and of that origin.
func (g *Queue) ByID(ctx context.Context, id string) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for _, tail := range wire.KeyTails(id) {
			for l, err := range g.each(ctx, "mail.dead.*."+tail.Filter, Filter{}) {
				if err == nil && !tail.Has(l.Key.DeadSubject()) {
					continue
				}
				if !yield(l, err) {
					return
				}
			}
		}
	}
}

func (f Filter) subject() string {
	if f.Lane == "" {
		return "mail.dead.>"
	}
	return "mail.dead." + string(f.Lane) + ".>"
}

func (g *Queue) each(ctx context.Context, subject string, f Filter) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		// What is buried while we read is not for us: a replay that fails at
		// once would come up again without end.
		last, err := g.streams.Last(ctx, wire.StreamDead, subject)
		if errors.Is(err, stream.ErrNotFound) {
			return
		}
		if err != nil {
			yield(nil, fmt.Errorf("read dead letters: %w", err))
			return
		}
		for seq := uint64(1); seq <= last.Sequence; {
			m, err := g.streams.Next(ctx, wire.StreamDead, subject, seq, time.Time{})
			if errors.Is(err, stream.ErrNotFound) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("read dead letters: %w", err))
				return
			}
			if m.Sequence > last.Sequence {
				return
			}
			seq = m.Sequence + 1
			found, err := parse(m)
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if found.Tombstone == "" && f.match(found) && !yield(found, nil) {
				return
			}
		}
	}
}

func parse(m *jetstream.RawStreamMsg) (*Found, error) {
	key, err := wire.ParseKey(m.Subject)
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", m.Sequence, err)
	}
	l, err := wire.ParseDeadLetter(key.Lane, m.Header, m.Data)
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", m.Sequence, err)
	}
	return &Found{DeadLetter: l, Seq: m.Sequence, At: m.Time, Recipients: recipients(l)}, nil
}

// recipients are those of the line that the envelope names.
func recipients(l *wire.DeadLetter) []mail.Recipient {
	e, err := schema.Decode(l.Producer, l.Body)
	if err != nil {
		return nil
	}
	return l.Key.RecipientsIn(e)
}

func (f Filter) match(l *Found) bool {
	switch {
	case f.Reason != "" && l.Reason != f.Reason,
		!f.Since.IsZero() && l.At.Before(f.Since),
		!f.Until.IsZero() && l.At.After(f.Until):
		return false
	}
	if f.Recipient == "" {
		return true
	}
	for _, r := range l.Recipients {
		if mail.SameAddress(r.Address, f.Recipient) {
			return true
		}
	}
	return false
}

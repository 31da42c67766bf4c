package deadletter

import (
	"context"
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

// Found is a dead letter in MAIL_DEAD.
type Found struct {
	*wire.DeadLetter
	// Seq is its sequence in the stream.
	Seq uint64
	// At is when it was buried.
	At time.Time
	// Recipients are those of the key; none if the envelope cannot be read.
	Recipients []mail.Recipient
}

// All yields the dead letters that the filter selects, oldest first. A message
// that is no dead letter is an error with a nil result, after which the caller
// may read on. Any other error is the last that it yields.
//
// What is buried while it reads is left out: a replay that fails at once would
// otherwise come up again and again.
func (q *Queue) All(ctx context.Context, f Filter) iter.Seq2[*Found, error] {
	return q.each(ctx, f.subject(), f)
}

// ByID yields the dead letters of that id and of that origin, as [Queue.All]
// does.
func (q *Queue) ByID(ctx context.Context, id string) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for _, tail := range wire.KeyTails(id) {
			for l, err := range q.each(ctx, "mail.dead.*."+tail.Filter, Filter{}) {
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

func (q *Queue) each(ctx context.Context, subject string, f Filter) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for m, err := range stream.All(ctx, q.store, wire.StreamDead, subject, stream.Range{}) {
			if err != nil {
				yield(nil, fmt.Errorf("read dead letters: %w", err))
				return
			}
			found, err := parse(m)
			if err == nil && (found.Tombstone != "" || !f.match(found)) {
				continue
			}
			if !yield(found, err) {
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

// recipients are those of the key, as the envelope names them, or what could be read
// of it.
func recipients(l *wire.DeadLetter) []mail.Recipient {
	e, err := schema.Decode(l.Producer, l.Body)
	if err != nil {
		e = schema.Salvage(l.Producer, l.Body)
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

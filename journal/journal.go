// Package journal keeps the record of each line: what is known of it at its
// last hop. A record is looked at before a message is sent, and set by
// compare-and-set after, so that of two hands that hold one message only one
// decides. What it writes is also the log that people read, by way of
// MAIL_EVENT, which the broker fills from the records.
//
// It decides nothing and retries nothing.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Store reads streams from their leader and writes by compare-and-set. Its
// errors are those of package schema.
type Store interface {
	// Last is the last message whose subject matches; [schema.ErrNotFound].
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	// Next is the first message from seq on, or where seq is 0 from that time
	// on, whose subject matches; [schema.ErrNotFound].
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
	// Set publishes m where the last sequence on filter is the expected one, 0
	// for none; [schema.ErrConflict].
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
}

// Journal reads and writes records.
type Journal struct {
	store Store
}

// New is a journal on that store.
func New(s Store) *Journal { return &Journal{store: s} }

// Lookup returns the last record of the key and its sequence; nil and 0 if there
// is none. A key without an ID stands for any id: it is used for messages that
// must not be decoded, and is slow if there are many records.
func (j *Journal) Lookup(ctx context.Context, l wire.Key) (*wire.Record, uint64, error) {
	filter := l.RecordSubject()
	if l.ID == "" {
		filter = l.RecordFilter()
	}
	m, err := j.store.Last(ctx, wire.StreamRecord, filter)
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("look at the record of %s: %w", l, err)
	}
	r, err := wire.DecodeRecord(m.Data)
	if err != nil {
		return nil, 0, fmt.Errorf("look at the record of %s (sequence %d): %w", l, m.Sequence, err)
	}
	return r, m.Sequence, nil
}

// Set makes r the last record of its line, where the last one's sequence is
// the expected one (0: there is none); else [schema.ErrConflict]. A brief
// record is forgotten after [BriefTTL].
func (j *Journal) Set(ctx context.Context, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	l := r.Key()
	b, err := r.Encode()
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(l.RecordSubject())
	m.Data = b
	if brief {
		m.Header.Set(jetstream.MsgTTLHeader, BriefTTL.String())
	}
	seq, err := j.store.Set(ctx, m, m.Subject, expected)
	if errors.Is(err, stream.ErrConflict) {
		// The answer to an earlier try may have been lost: then it is our own
		// record that stands in the way.
		last, lerr := j.store.Last(ctx, wire.StreamRecord, m.Subject)
		if lerr == nil && bytes.Equal(last.Data, b) {
			return last.Sequence, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("record %s of %s: %w", r.Event, l, err)
	}
	return seq, nil
}

// Find searches the log for the last record of the key at that generation or
// above, for when the record itself has expired; nil if there is none. It reads
// the entries of the key's bucket from its enqueue time on, or, if the key has no
// ID, all entries of the lane.
func (j *Journal) Find(ctx context.Context, k wire.Key, generation int, enqueued time.Time) (*wire.Record, error) {
	subject := k.EventSubject()
	if k.ID == "" {
		subject = k.EventFilter()
	}
	return j.search(ctx, subject, enqueued, func(r *wire.Record) bool {
		of := r.Key()
		if k.ID == "" {
			of.ID = ""
		}
		return of == k && r.Generation >= generation
	})
}

// search gives the last record in the log that matches.
func (j *Journal) search(ctx context.Context, subject string, since time.Time, match func(*wire.Record) bool) (found *wire.Record, err error) {
	// The log's server may have another clock than the one that took the mail in.
	since = since.Add(-sourceLag)
	for seq := uint64(0); ; {
		m, err := j.store.Next(ctx, wire.StreamEvent, subject, seq, since)
		if errors.Is(err, stream.ErrNotFound) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("search the log in %s: %w", subject, err)
		}
		seq = m.Sequence + 1
		if r, err := wire.DecodeRecord(m.Data); err == nil && match(r) {
			found = r
		}
	}
}

// Package journal keeps the record of each key: what is known of it at its last
// generation. The record is read before a message is sent and written by
// compare-and-set after it, so that of two deliveries of one message only one
// decides. The records are also the log that people read: the broker copies
// them from MAIL_RECORD to MAIL_EVENT.
//
// It decides nothing. It tries again only to write an operator's act ([Journal.Amend]),
// if another write came first.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// BriefTTL is how long a record lives that no later delivery needs: long enough
// for all redeliveries but those after everything was stopped for a while, which
// are looked up in MAIL_EVENT.
const BriefTTL = 10 * time.Minute

// Store reads and writes streams, as a [stream.Store] does. Its errors are those
// of package stream.
type Store interface {
	// Last is the last message whose subject matches; [stream.ErrNotFound].
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	// Scan yields the messages of a part of a stream whose subject matches.
	Scan(ctx context.Context, stream, subject string, r stream.Range) iter.Seq2[*jetstream.RawStreamMsg, error]
	// Set publishes m if the last sequence on filter is the expected one, 0 for
	// none; [stream.ErrConflict].
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
}

// Journal reads and writes records. Its methods may be called concurrently if
// those of its store may.
type Journal struct {
	store Store
}

// New is a journal on that store.
func New(s Store) *Journal { return &Journal{store: s} }

// Lookup returns the last record of the key and its sequence; nil and 0 if there
// is none. It fails with [wire.ErrNewer] if the record cannot be acted on. A key without an ID stands for any id: it is used for messages that
// must not be decoded, and is slow if there are many records.
func (j *Journal) Lookup(ctx context.Context, k wire.Key) (*wire.Record, uint64, error) {
	m, err := j.store.Last(ctx, wire.StreamRecord, recordsOf(k))
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("look up the record of %s: %w", k, err)
	}
	r, err := wire.DecodeRecord(m.Data)
	if err == nil {
		err = wire.Understood(r)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("look up the record of %s (sequence %d): %w", k, m.Sequence, err)
	}
	return r, m.Sequence, nil
}

// recordsOf matches the records of a key, whatever their id if it has none.
func recordsOf(k wire.Key) string {
	if k.ID == "" {
		return k.RecordFilter()
	}
	return k.RecordSubject()
}

// Set makes r the last record of its key and returns its sequence, if the
// sequence of the last record of k is the expected one (0: there is none). k is the
// key of r, or that key without an ID: then records under other ids count too, which is
// slow if there are many records. A brief record expires after [BriefTTL]. It fails with
// [stream.ErrConflict], [stream.ErrFull], [stream.ErrTooLarge] or [stream.ErrAway].
//
// Setting the same record again, after an answer was lost, is no conflict.
func (j *Journal) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	b, err := r.Encode()
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(r.Key().RecordSubject())
	m.Data = b
	if brief {
		m.Header.Set(jetstream.MsgTTLHeader, BriefTTL.String())
	}
	seq, err := j.store.Set(ctx, m, recordsOf(k), expected)
	if errors.Is(err, stream.ErrConflict) {
		last, lerr := j.store.Last(ctx, wire.StreamRecord, m.Subject)
		switch {
		case lerr == nil && bytes.Equal(last.Data, b):
			return last.Sequence, nil
		case errors.Is(lerr, stream.ErrAway): // it may be r itself
			return 0, fmt.Errorf("record %s of %s: %w", r.Event, r.Key(), lerr)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("record %s of %s: %w", r.Event, r.Key(), err)
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

// search is the last record in the log that matches.
func (j *Journal) search(ctx context.Context, subject string, since time.Time, match func(*wire.Record) bool) (found *wire.Record, err error) {
	// The server with the log may have another clock than the one that accepted
	// the message.
	since = since.Add(-sourceLag)
	for m, err := range j.store.Scan(ctx, wire.StreamEvent, subject, stream.Range{Since: since}) {
		if err != nil {
			return nil, fmt.Errorf("search the log in %s: %w", subject, err)
		}
		r, err := wire.DecodeRecord(m.Data)
		if err != nil || !match(r) {
			continue
		}
		if err := wire.Understood(r); err != nil {
			return nil, fmt.Errorf("search the log in %s (sequence %d): %w", subject, m.Sequence, err)
		}
		found = r
	}
	return found, nil
}

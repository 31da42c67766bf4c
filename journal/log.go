package journal

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// sourceLag is how much later than its record an entry may be in the log: a
// source lags by 40 s after a leader's death, and clocks differ.
const sourceLag = 2 * time.Minute

// Log is what people read: MAIL_EVENT, a copy of every record for 30 days. Its
// methods may be called concurrently.
type Log struct {
	js jetstream.JetStream
}

// NewLog is the log at that broker.
func NewLog(js jetstream.JetStream) *Log { return &Log{js: js} }

// Filter selects entries; its zero value selects all.
type Filter struct {
	Lane wire.Lane
	// ID is an id or an origin.
	ID string
	// Recipient is an address, or "@domain" for all of a domain.
	Recipient string
	// Event is that of a recipient, or of the entry if it has none.
	Event wire.Event
	// QueueID is the relay's name for a message that it accepted.
	QueueID string
	// MessageID is the message's own, without its angle brackets.
	MessageID string
	// Since and Until bound the time of the record.
	Since, Until time.Time
	// Read, if it is set, is called for each entry that is read, also for those that
	// do not match.
	Read func()
}

// Search yields the entries that are there now, oldest first. An entry that
// cannot be read is an error with a nil record, after which the caller may read
// on. Any other error is the last that it yields. If ctx ends, so does the
// reading, without an error.
func (l *Log) Search(ctx context.Context, f Filter) iter.Seq2[*wire.Record, error] {
	return l.records(ctx, f, f.config(), false)
}

// Follow is [Log.Search], and then yields new entries as they are written, until
// ctx ends. It survives a restart of the broker.
func (l *Log) Follow(ctx context.Context, f Filter) iter.Seq2[*wire.Record, error] {
	return l.records(ctx, f, f.config(), true)
}

// records is [Log.read] without the sequences.
func (l *Log) records(ctx context.Context, f Filter, from jetstream.OrderedConsumerConfig, follow bool) iter.Seq2[*wire.Record, error] {
	return func(yield func(*wire.Record, error) bool) {
		for e, err := range l.read(ctx, f, from, follow) {
			if !yield(e.Record, err) {
				return
			}
		}
	}
}

// entry is a record, and where it is in the log.
type entry struct {
	*wire.Record

	seq uint64
}

func (l *Log) read(ctx context.Context, f Filter, from jetstream.OrderedConsumerConfig, follow bool) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		c, it, left, err := l.open(ctx, from)
		if err != nil {
			yield(entry{}, fmt.Errorf("read the log: %w", err))
			return
		}
		defer it.Stop()
		for follow || left > 0 {
			m, err := next(ctx, c, it, follow)
			switch {
			case err != nil && ctx.Err() == nil:
				yield(entry{}, fmt.Errorf("read the log: %w", err))
				return
			case err != nil, m == nil:
				return
			}
			meta, err := m.Metadata()
			if err != nil {
				yield(entry{}, fmt.Errorf("read the log: %w", err))
				return
			}
			left = meta.NumPending
			if f.over(meta.Timestamp) {
				return
			}
			f.count()
			if !bytes.Contains(m.Data(), []byte(f.QueueID)) || !bytes.Contains(m.Data(), []byte(f.MessageID)) {
				continue // decoding takes most of the time
			}
			r, err := wire.DecodeRecord(m.Data())
			switch {
			case err != nil:
				err = fmt.Errorf("read entry %d of the log: %w", meta.Sequence.Stream, err)
			case !f.match(r):
				continue
			}
			if !yield(entry{r, meta.Sequence.Stream}, err) {
				return
			}
		}
	}
}

// next is the next entry. Without follow it is nil if no more are left.
func next(ctx context.Context, c jetstream.Consumer, it jetstream.MessagesContext, follow bool) (jetstream.Msg, error) {
	if follow {
		return it.Next(jetstream.NextContext(ctx))
	}
	return stream.NextLeft(ctx, c, it)
}

// open begins to read; left is how many entries are there now.
func (l *Log) open(ctx context.Context, from jetstream.OrderedConsumerConfig) (c jetstream.Consumer, it jetstream.MessagesContext, left uint64, err error) {
	c, err = l.js.OrderedConsumer(ctx, wire.StreamEvent, from)
	if err != nil {
		return nil, nil, 0, err
	}
	left = c.CachedInfo().NumPending
	it, err = c.Messages(jetstream.PullMaxMessages(1000))
	return c, it, left, err
}

// config is the consumer that reads no more than necessary: the bucket of the id,
// from the earliest time on.
func (f Filter) config() jetstream.OrderedConsumerConfig {
	lane, bucket := "*", "*"
	if f.Lane != "" {
		lane = string(f.Lane)
	}
	since := f.Since
	if at, ok := wire.OriginTime(f.ID); ok {
		if at.After(since) {
			since = at
		}
	} else if f.ID != "" {
		subject := wire.Key{Lane: "x", ID: f.ID}.EventSubject()
		bucket = subject[strings.LastIndexByte(subject, '.')+1:]
	}
	c := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"mail.event." + lane + "." + bucket},
		DeliverPolicy:  jetstream.DeliverAllPolicy,
	}
	if !since.IsZero() {
		// Entries have the time of their own storage, and records are written first.
		start := since.Add(-sourceLag)
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return c
}

// over reports that no later entry is early enough.
func (f Filter) over(at time.Time) bool {
	return !f.Until.IsZero() && at.After(f.Until.Add(sourceLag))
}

func (f Filter) count() {
	if f.Read != nil {
		f.Read()
	}
}

func (f Filter) match(r *wire.Record) bool {
	switch {
	case f.ID != "" && r.ID != f.ID && r.Origin != f.ID,
		f.MessageID != "" && r.MessageID != f.MessageID,
		!f.Since.IsZero() && r.At.Before(f.Since),
		!f.Until.IsZero() && r.At.After(f.Until):
		return false
	}
	if len(r.Recipients) == 0 {
		return f.Recipient == "" && f.QueueID == "" && (f.Event == "" || r.Event == f.Event)
	}
	return slices.ContainsFunc(r.Recipients, func(x wire.RecipientRecord) bool {
		return (f.Recipient == "" || mail.SameAddress(x.Address, f.Recipient)) &&
			(f.QueueID == "" || x.QueueID == f.QueueID) && (f.Event == "" || x.EventIn(r) == f.Event)
	})
}

// Records are the records of a message that MAIL_RECORD still has, by its id or
// origin, oldest first of each. They are in the log too, unless it lags.
func (j *Journal) Records(ctx context.Context, id string) ([]*wire.Record, error) {
	var all []*wire.Record
	for _, tail := range wire.KeyTails(id) {
		for m, err := range j.store.Scan(ctx, wire.StreamRecord, "mail.record.*."+tail.Filter, stream.Range{}) {
			if err != nil {
				return nil, fmt.Errorf("read the records of %s: %w", id, err)
			}
			if !tail.Has(m.Subject) {
				continue
			}
			r, err := wire.DecodeRecord(m.Data)
			if err != nil {
				return nil, fmt.Errorf("read record %d: %w", m.Sequence, err)
			}
			all = append(all, r)
		}
	}
	return all, nil
}

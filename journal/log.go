package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// sourceLag is how much later than its record an entry may stand in the log:
// a source lags by 40 s after a leader's death, and clocks differ.
const sourceLag = 2 * time.Minute

// Log is what people read: every record again, for 30 days.
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
	Event     wire.Event
	// Since and Until bound the time of the record.
	Since, Until time.Time
}

// Search yields the entries that stand there now, oldest first. It ends at the
// first error, which it yields; an entry that cannot be read is an error too,
// and may be passed over.
func (l *Log) Search(ctx context.Context, f Filter) iter.Seq2[*wire.Record, error] {
	return l.read(ctx, f, false)
}

// Follow is [Log.Search], and then waits for what comes, until ctx ends. It
// outlives a restart of the broker.
func (l *Log) Follow(ctx context.Context, f Filter) iter.Seq2[*wire.Record, error] {
	return l.read(ctx, f, true)
}

func (l *Log) read(ctx context.Context, f Filter, follow bool) iter.Seq2[*wire.Record, error] {
	return func(yield func(*wire.Record, error) bool) {
		c, err := l.js.OrderedConsumer(ctx, wire.StreamEvent, f.config())
		if err != nil {
			yield(nil, fmt.Errorf("read the log: %w", err))
			return
		}
		left := c.CachedInfo().NumPending
		if left == 0 && !follow {
			return
		}
		it, err := c.Messages(jetstream.PullMaxMessages(1000))
		if err != nil {
			yield(nil, fmt.Errorf("read the log: %w", err))
			return
		}
		defer it.Stop()
		for follow || left > 0 {
			m, err := it.Next(jetstream.NextContext(ctx))
			if err != nil {
				if ctx.Err() == nil {
					yield(nil, fmt.Errorf("read the log: %w", err))
				}
				return
			}
			meta, err := m.Metadata()
			if err != nil {
				yield(nil, fmt.Errorf("read the log: %w", err))
				return
			}
			left = meta.NumPending
			if !f.Until.IsZero() && meta.Timestamp.After(f.Until.Add(sourceLag)) {
				return
			}
			r, err := wire.DecodeRecord(m.Data())
			switch {
			case err != nil:
				err = fmt.Errorf("read entry %d of the log: %w", meta.Sequence.Stream, err)
			case !f.match(r):
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// config asks the broker for no more than has to be read: the id's bucket, and
// what is new enough.
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
		// The entry is written after the record.
		start := since.Add(-sourceLag)
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return c
}

func (f Filter) match(r *wire.Record) bool {
	switch {
	case f.Event != "" && r.Event != f.Event,
		f.ID != "" && r.ID != f.ID && r.Origin != f.ID,
		!f.Since.IsZero() && r.At.Before(f.Since),
		!f.Until.IsZero() && r.At.After(f.Until):
		return false
	}
	if f.Recipient == "" {
		return true
	}
	for _, x := range r.Recipients {
		if mail.SameAddress(x.Address, f.Recipient) {
			return true
		}
	}
	return false
}

// Records are those of a message that MAIL_RECORD still holds, oldest first:
// by id or by origin. They are in the log too, unless that lags.
func (j *Journal) Records(ctx context.Context, id string) ([]*wire.Record, error) {
	var all []*wire.Record
	for _, tail := range wire.KeyTails(id) {
		for seq := uint64(1); ; {
			m, err := j.store.Next(ctx, wire.StreamRecord, "mail.record.*."+tail.Filter, seq, time.Time{})
			if errors.Is(err, stream.ErrNotFound) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read the records of %s: %w", id, err)
			}
			seq = m.Sequence + 1
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

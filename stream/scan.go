package stream

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Scan yields what [All] does, through a consumer that it makes for it: many messages
// with one request. It is a hundred times faster where a stream is long and few of its
// messages match, and costs more where there are only a few messages in all.
//
// It ends at the first error, which it yields with a nil message: [ErrAway] or
// [ErrNoStream]. No match is no error.
func (s *Store) Scan(ctx context.Context, stream, subject string, r Range) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		err := s.scan(ctx, stream, subject, r, func(m *jetstream.RawStreamMsg) bool { return yield(m, nil) })
		if err != nil {
			yield(nil, fmt.Errorf("read %s of %s: %w", subject, stream, Classify(err)))
		}
	}
}

func (s *Store) scan(ctx context.Context, stream, subject string, r Range, see func(*jetstream.RawStreamMsg) bool) error {
	js, err := jetstream.New(s.nc)
	if err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, stream, r.consumer(subject))
	if err != nil {
		return err
	}
	// If it cannot be deleted, the broker does so after a while.
	defer func() { _ = js.DeleteConsumer(ctx, stream, c.CachedInfo().Name) }()
	left := c.CachedInfo().NumPending
	if left == 0 {
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		return err
	}
	defer it.Stop()
	for left > 0 {
		m, err := NextLeft(ctx, c, it)
		if m == nil || err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		left = meta.NumPending
		at := meta.Sequence.Stream
		if r.Through > 0 && at > r.Through {
			return nil
		}
		if !see(&jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: at, Header: m.Headers(), Data: m.Data(), Time: meta.Timestamp}) {
			return nil
		}
	}
	return nil
}

// consumer reads the range.
func (r Range) consumer(subject string) jetstream.OrderedConsumerConfig {
	c := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case r.From > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.From
	case !r.Since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since
	}
	return c
}

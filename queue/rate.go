package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// rateOver is the time over which a rate is measured.
	rateOver = time.Minute
	// rateLeast keeps one message in the last moment from being many per second.
	rateLeast = 5 * time.Second
	// standsAfter: a lane with mail that has settled none for so long has no rate, and
	// nobody can say when it will be empty.
	standsAfter = 5 * time.Second
	// readUpTo is the number of records up to which those of requeues are left out.
	readUpTo = 1000
)

// rate counts the lane's records of the last minute, which all its workers write.
// The counters of the consumers would have to be asked for twice, and a killed
// broker forgets them.
func (q *Queue) rate(ctx context.Context, l *Lane, now time.Time) error {
	subject, since := "mail.record."+string(l.Lane)+".>", now.Add(-rateOver)
	first, err := q.store.Next(ctx, wire.StreamRecord, subject, 0, since)
	if errors.Is(err, stream.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	last, err := settled(ctx, q, l, subject, first.Sequence)
	if err != nil {
		return err
	}
	if l.workers.outage(l.Lane) != nil || l.Ready() > 0 && now.Sub(last) > standsAfter {
		return nil
	}
	l.forecast(now, now.Sub(first.Time))
	return nil
}

// settled counts the lane's records from that one on, and says when the last one was
// written. If they are few, those are left out that say only that a mail was requeued.
func settled(ctx context.Context, q *Queue, l *Lane, subject string, first uint64) (last time.Time, err error) {
	if l.Settled, err = records(ctx, q, subject, first); err != nil {
		return last, err
	}
	if l.Settled > readUpTo {
		m, err := q.store.Last(ctx, wire.StreamRecord, subject)
		if err != nil {
			return last, err
		}
		return m.Time, nil
	}
	l.Settled = 0
	for m, err := range q.store.Scan(ctx, wire.StreamRecord, subject, stream.Range{From: first}) {
		if err != nil {
			return last, err
		}
		if r, err := wire.DecodeRecord(m.Data); err == nil && r.Event == wire.EventRequeued {
			continue
		}
		l.Settled++
		last = m.Time
	}
	return last, nil
}

// records is the number of records on that subject from that one on.
func records(ctx context.Context, q *Queue, subject string, first uint64) (uint64, error) {
	c, err := q.js.OrderedConsumer(ctx, wire.StreamRecord, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, HeadersOnly: true,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		return 0, fmt.Errorf("count records: %w", err)
	}
	info := c.CachedInfo()
	forget(ctx, q.js, wire.StreamRecord, info.Name)
	return info.NumPending, nil
}

// forecast says how fast the lane moves, if that many messages were settled in that
// time, and when it will be empty.
func (l *Lane) forecast(now time.Time, over time.Duration) {
	l.Rate = float64(l.Settled) / max(over, rateLeast).Seconds()
	if n := l.Ready(); n > 0 && l.Rate > 0 {
		l.Empty = now.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
	}
}

// forget deletes a consumer that was made to count. If that fails, the broker
// deletes it after a while.
func forget(ctx context.Context, js jetstream.JetStream, stream, name string) {
	_ = js.DeleteConsumer(ctx, stream, name)
}

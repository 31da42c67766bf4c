package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// DeadLetters counts the dead letters, without tombstones.
type DeadLetters struct {
	Lanes map[wire.Lane]uint64 `json:"-"`
	// Recent are those of the last hour.
	Recent uint64 `json:"died_last_hour"`
	// Oldest is when the first one was buried; zero if there is none.
	Oldest time.Time `json:"oldest_dead,omitzero"`
}

func (d *DeadLetters) total() (n uint64) {
	for _, some := range d.Lanes {
		n += some
	}
	return n
}

// DeadLetters counts the dead letters by reading their headers.
func (q *Queue) DeadLetters(ctx context.Context) (*DeadLetters, error) {
	all, now := &DeadLetters{Lanes: map[wire.Lane]uint64{}}, q.now()
	err := headers(ctx, q.js, wire.StreamDead, "mail.dead.>", func(m jetstream.Msg, meta *jetstream.MsgMetadata) {
		key, err := wire.ParseKey(m.Subject())
		if err != nil || m.Headers().Get(wire.HeaderTombstone) != "" {
			return
		}
		all.Lanes[key.Lane]++
		if now.Sub(meta.Timestamp) < time.Hour {
			all.Recent++
		}
		if all.Oldest.IsZero() { // they come in the order of burial
			all.Oldest = meta.Timestamp
		}
	})
	return all, err
}

// headers reads the headers, not the bodies, of what is in the stream now.
func headers(ctx context.Context, js jetstream.JetStream, name, subject string, see func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	c, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	left := c.CachedInfo().NumPending
	if left == 0 {
		forget(ctx, js, name, c.CachedInfo().Name)
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	defer it.Stop()
	for left > 0 {
		m, err := stream.NextLeft(ctx, c, it)
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		case m == nil:
			return nil
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		left = meta.NumPending
		see(m, meta)
	}
	return nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// maxDeliver is a safety net, not a number of attempts. A message that
	// reaches it stays in the stream, and only the sweep finds it.
	maxDeliver    = 64
	maxAckPending = 4096
	maxWaiting    = 4096
)

// consumerConfig is the durable pull consumer of a source. Of copies it matches
// those that are due; the waiting ones fire into these.
func consumerConfig(s wire.Source, ackWait time.Duration) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Name:          s.Consumer,
		Durable:       s.Consumer,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    maxDeliver,
		MaxAckPending: maxAckPending,
		MaxWaiting:    maxWaiting,
	}
	if s.Filter != wire.Everything { // a filter of everything would be a changed setting
		c.FilterSubject = s.Filter
	}
	return c
}

// Consumer finds a durable consumer. It fails with [stream.ErrAway],
// [stream.ErrNoConsumer] or [stream.ErrNoStream].
func (c *Conn) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	q, err := c.js.Consumer(ctx, stream, name)
	if err != nil {
		return nil, fmt.Errorf("read consumer %s of %s: %w", name, stream, refused(err))
	}
	return q, nil
}

// AckWait is how long a delivery of the consumer belongs to the worker that has
// it. It is what the broker has, not a setting: all workers go by it.
func (c *Conn) AckWait(ctx context.Context, stream, consumer string) (time.Duration, error) {
	q, err := c.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, err
	}
	return q.CachedInfo().Config.AckWait, nil
}

// consumer makes, upgrades or compares one consumer.
func (p *provisioner) consumer(ctx context.Context, of string, want jetstream.ConsumerConfig) error {
	name := of + "/" + want.Name
	q, err := p.c.Consumer(ctx, of, want.Name)
	switch {
	case err == nil:
		return p.renew(ctx, of, q.CachedInfo().Config, want)
	case p.verify() && gone(err):
		p.differs = append(p.differs, fmt.Errorf("consumer %s: is missing", name))
		return nil
	case !errors.Is(err, stream.ErrNoConsumer):
		return err
	}
	want.Metadata = stamp(nil)
	_, err = p.c.js.CreateConsumer(ctx, of, want)
	if errors.Is(err, jetstream.ErrConsumerExists) {
		// Another worker has just made it, with another AckWait.
		if q, err = p.c.js.Consumer(ctx, of, want.Name); err == nil {
			return p.renew(ctx, of, q.CachedInfo().Config, want)
		}
	}
	if err != nil {
		return fmt.Errorf("create consumer %s: %w", name, refused(err))
	}
	p.c.log.Debug("consumer created", "consumer", name, "ack_wait", want.AckWait)
	return nil
}

// gone reports that there is no such consumer, or no stream that it could be of.
func gone(err error) bool {
	return errors.Is(err, stream.ErrNoConsumer) || errors.Is(err, stream.ErrNoStream)
}

// renew upgrades or compares a consumer that exists.
func (p *provisioner) renew(ctx context.Context, stream string, have, want jetstream.ConsumerConfig) error {
	name := stream + "/" + want.Name
	if have.AckWait != want.AckWait && !p.c.embedded && !p.cfg.SetAckWait {
		p.warn(fmt.Sprintf("consumer %s: POSTRIDER_ACK_WAIT is %s, but the broker has %s, which is used; run postrider provision (or worker provision) to change it for all workers", name, check.Duration(want.AckWait), check.Duration(have.AckWait)))
		want.AckWait = have.AckWait
	}
	target, diff, newer, err := consumerDrift(have, want)
	if err != nil || newer || len(diff) == 0 {
		return err
	}
	if p.verify() {
		for _, d := range diff {
			p.differs = append(p.differs, fmt.Errorf("consumer %s: %s", name, d))
		}
		return nil
	}
	if _, err := p.c.js.UpdateConsumer(ctx, stream, target); err != nil {
		return fmt.Errorf("update consumer %s: %w", name, refused(err))
	}
	p.c.log.Info("consumer updated", "consumer", name, "changes", diff)
	return nil
}

// overConsumer puts our settings over those of a consumer that exists. Replicas,
// description and pause are an operator's choice.
func overConsumer(have, want jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	c := want
	c.Description, c.Replicas, c.PauseUntil = have.Description, have.Replicas, have.PauseUntil
	// A lower value would strand messages that have had more deliveries.
	if have.MaxDeliver > c.MaxDeliver || have.MaxDeliver < 0 {
		c.MaxDeliver = have.MaxDeliver
	}
	c.Metadata = stamp(have.Metadata)
	return c
}

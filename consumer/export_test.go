package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// What the tests of fetching need of the inside.

type Puller = puller

var ErrNoMessage = errNoMessage

func (c *Consumer) NewPuller(s wire.Source) (*Puller, error) {
	return newPuller(c.NATS, c.Link, s, c.cfg.Slots)
}

func (p *puller) Next(ctx context.Context, batch, maxBytes int, wait time.Duration) (*nats.Msg, error) {
	return p.next(ctx, batch, maxBytes, wait)
}

func (p *puller) Stop() []*nats.Msg { return p.stop() }

// TakeOne takes the next message of a source and returns once it is settled or
// requeued; false if there is none. The worker is told to stop when fetch ends.
func (c *Consumer) TakeOne(fetch, work context.Context, s wire.Source) (bool, error) {
	p, err := c.NewPuller(s)
	if err != nil {
		return false, err
	}
	defer p.stop()
	m, err := p.Next(work, 1, 0, time.Second)
	if errors.Is(err, errNoMessage) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f := &fetcher{Consumer: c, Source: s, ended: make(chan struct{}, 1)}
	f.take(settle.Span{Fetch: fetch, Work: work, Settle: work}, f.lease(m))
	f.flight.Wait()
	return true, nil
}

func (c *Consumer) Open(ctx context.Context) error { return c.open(ctx) }

// SweepAll searches all sources once.
func (c *Consumer) SweepAll(ctx context.Context) error {
	for _, f := range c.fetchers {
		if err := c.sweepOnce(settle.Span{Fetch: ctx, Work: ctx, Settle: ctx}, f); err != nil {
			return err
		}
		if f.Fresh {
			continue
		}
		if err := c.fireOverdue(ctx, f, c.Now()); err != nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) AckWait() time.Duration { return c.leases.ackWait() }

// Slot takes a slot, and FreeSlot gives it back.
func (c *Consumer) Slot(ctx context.Context, l wire.Lane) error {
	_, err := c.slots.Acquire(ctx, l, 1)
	return err
}
func (c *Consumer) FreeSlot(l wire.Lane) { c.slots.Release(l, 1) }

// LeftFor is how many bytes are left if the pause after a message is that long.
func LeftFor(pause time.Duration) uint64 {
	return uint64(roomLasts.Seconds() / pause.Seconds() * keptBytes)
}

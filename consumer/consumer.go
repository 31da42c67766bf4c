// Package consumer fetches messages from their lanes and has each of them settled
// (package settle): fetch, leases, slots, drain, sweep. It speaks
// JetStream's pull protocol and never SMTP.
//
// A message is leased from the moment it arrives. A source fetches only what free slots
// can take. While it is idle, it keeps one pull waiting at the broker, so that a lone
// message comes at once.
package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/slots"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Settler settles one delivery.
type Settler interface {
	// Settle returns nil if the message is acknowledged, [settle.ErrLeft] if another
	// delivery will settle it.
	Settle(span settle.Span, d *settle.Delivery) error
	// Requeue gives a delivery back, to come again after a pause.
	Requeue(d *settle.Delivery) error
}

// Store is where the sweep reads, and fires what is overdue.
type Store interface {
	stream.Reader
	stream.Register
}

// Parts are what a consumer is made of.
type Parts struct {
	NATS *nats.Conn
	Link Link
	// Durable finds a durable consumer. Its errors are those of package stream.
	Durable func(ctx context.Context, stream, name string) (jetstream.Consumer, error)
	Store   Store
	// Now is an estimate of the broker's clock.
	Now     func() time.Time
	Room    Room
	Gate    *Gate
	Settler Settler
	// Interrupted is told what interrupted the fetching from a source, such as a
	// consumer that is gone. It may repair that.
	Interrupted func(ctx context.Context, s wire.Source, err error)
	Log         *slog.Logger
	Metrics     prometheus.Registerer
}

// Consumer fetches messages and has them settled.
type Consumer struct {
	Parts
	cfg      Config
	fetchers []*fetcher // set by open, then only read, also by the sweeps
	slots    *slots.Slots
	leases   *leases
	metrics  *metrics
	// hurry is closed by the first call of Hurry, by whatever goroutine; Run reads it.
	hurry chan struct{}
	once  sync.Once
}

// New makes a consumer; Run starts it.
func New(cfg Config, p Parts) *Consumer {
	c := &Consumer{
		Parts: p, cfg: cfg,
		slots:   slots.New(cfg.Slots, cfg.MaxBytes, cfg.Lanes),
		metrics: newMetrics(p.Metrics, cfg.Lanes.Names()),
		hurry:   make(chan struct{}),
	}
	c.leases = newLeases(p.NATS, p.Link, cfg, c.slots.AddBytes)
	return c
}

// afterWork is how long settling may go on after transactions had to stop.
const afterWork = 10 * time.Second

// Why transactions have to stop.
var (
	errDrained = errors.New("the time to drain is over")
	errHurried = errors.New("the worker was told to stop at once")
)

// Run fetches messages until ctx ends. Then it lets what is in flight be settled
// within Config.Drain, and requeues the rest.
func (c *Consumer) Run(ctx context.Context) error {
	if err := c.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it had begun
		}
		return err
	}
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	settling, stopSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSettling()
	live := settle.Span{Fetch: ctx, Work: work, Settle: settling}
	var background, fetching sync.WaitGroup
	background.Go(func() { c.leases.renew(settling) })
	background.Go(func() { c.Room.Watch(ctx) })
	for _, f := range c.fetchers {
		background.Go(func() { c.sweep(live, f) })
		fetching.Go(func() { f.run(live) })
	}
	<-ctx.Done()
	overtime := time.NewTimer(c.cfg.Drain)
	defer overtime.Stop()
	background.Go(func() {
		why := errDrained
		select {
		case <-overtime.C:
		case <-c.hurry:
			why = errHurried
		case <-settling.Done():
			return
		}
		stopWork(why)
		if stream.Pause(settling, afterWork) {
			stopSettling()
		}
	})
	fetching.Wait()
	stopSettling()
	background.Wait()
	return nil
}

// Hurry ends the draining of a Run that was told to stop: what is in flight is
// requeued, unless its final dot has been sent.
func (c *Consumer) Hurry() { c.once.Do(func() { close(c.hurry) }) }

// open finds the durable consumers of all sources.
func (c *Consumer) open(ctx context.Context) error {
	for _, w := range c.cfg.Lanes {
		for _, source := range w.Lane.Sources() {
			f := &fetcher{Consumer: c, Source: source, ended: make(chan struct{}, 1)}
			if err := f.find(ctx); err != nil {
				return err
			}
			f.ackWait.Store(int64(f.durable.CachedInfo().Config.AckWait))
			c.fetchers = append(c.fetchers, f)
		}
	}
	return nil
}

// find asks for the source's durable consumer until it is answered: one without a
// leader, in a cluster that still forms or has lost servers, is away.
func (f *fetcher) find(ctx context.Context) (err error) {
	for n := 0; ; n++ {
		if f.durable, err = f.Durable(ctx, f.Stream, f.Source.Consumer); !errors.Is(err, stream.ErrAway) {
			return err
		}
		if n%60 == 0 { // about once a minute
			f.Log.Warn("waiting for the broker: a consumer does not answer, perhaps because it has no leader; check that most servers of the NATS cluster run and reach each other", "stream", f.Stream, "consumer", f.Source.Consumer, "error", err)
		}
		if !stream.Pause(ctx, time.Second) {
			return err
		}
	}
}

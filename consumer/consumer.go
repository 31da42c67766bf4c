// Package consumer takes messages from their lanes and settles each one: all
// recipients accepted by a relay, going on in a copy, or lying in a dead
// letter. It speaks JetStream and never SMTP.
//
// A message goes through five steps, always in this order, each in a file of
// its own: look, attempt, record, carry, ack. Anything may end between any two
// of them; ARCHITECTURE.md says what happens then.
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

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Relay carries transactions.
type Relay interface {
	// Deliver makes one transaction: an outcome for each recipient.
	Deliver(ctx context.Context, m mail.Message) mail.Transaction
	// Up reports whether the relay is to be used at all.
	Up() bool
	// Wait returns once it is.
	Wait(ctx context.Context) error
}

// Journal is the record of each line.
type Journal interface {
	Lookup(ctx context.Context, l wire.Key) (*wire.Record, uint64, error)
	LookupByOrigin(ctx context.Context, l wire.Key) (*wire.Record, uint64, error)
	Set(ctx context.Context, r *wire.Record, expected uint64, brief bool) (uint64, error)
	Find(ctx context.Context, l wire.Key, generation int, enqueued time.Time) (*wire.Record, error)
	FindByOrigin(ctx context.Context, l wire.Key, generation int, enqueued time.Time) (*wire.Record, error)
}

// Graveyard keeps what failed for good.
type DeadLetters interface {
	Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error)
	Mark(ctx context.Context, c wire.Copy, event wire.Event) error
}

// Store is what is read and written in the lanes' own streams. Its errors are
// those of package schema.
type Store interface {
	// Put publishes a line's one message; what stands on filter and has come as
	// far as hop is left there.
	Put(ctx context.Context, m *nats.Msg, filter string, expected uint64, generation int) (seq uint64, already bool, err error)
	// Next is the first message from seq on whose subject matches.
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
	// Delete deletes a message; one that is gone is no error.
	Delete(ctx context.Context, stream string, seq uint64) error
}

// Parts are what a consumer is made of.
type Parts struct {
	NATS *nats.Conn
	// Durable finds a durable consumer. Its errors are those of package schema.
	Durable func(ctx context.Context, stream, name string) (jetstream.Consumer, error)
	Link    Link
	// Now is the broker's clock.
	Now func() time.Time
	// Room is how much is stored and how much may be, in bytes; a limit of 0
	// is none.
	Room        func(ctx context.Context) (used, limit uint64, err error)
	Store       Store
	Journal     Journal
	DeadLetters DeadLetters
	Relay       Relay
	// Repair makes streams and consumers that have gone; nil for none.
	Repair func(ctx context.Context) error
	// Settled is told of each record that ends a hop, from the goroutine that
	// settled it; nil for nobody.
	Settled func(*wire.Record, Delivery)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Consumer takes and settles messages.
type Consumer struct {
	Parts
	cfg     Config
	policy  Policy
	sources []*source
	slots   *slots
	leases  *leases
	gate    *gate
	room    *room
	repairs *repairs
	log     *slog.Logger
	metrics *metrics
	hurry   chan struct{}
	once    sync.Once
}

// New is a consumer; Run starts it.
func New(cfg Config, p Parts) *Consumer {
	c := &Consumer{
		Parts: p, cfg: cfg, log: p.Log,
		policy:  Policy{MaxAttempts: cfg.MaxAttempts, RetryAfter: cfg.RetryAfter, MaxAge: cfg.MaxAge},
		slots:   newSlots(cfg.Slots, cfg.Lanes),
		leases:  newLeases(p.NATS, p.Link, cfg.AckWait),
		metrics: newMetrics(p.Metrics, cfg.Lanes.Names()),
		hurry:   make(chan struct{}),
	}
	c.gate = &gate{relay: p.Relay, link: p.Link}
	c.room = newRoom(p.Room)
	c.repairs = &repairs{do: p.Repair}
	return c
}

// afterWork is how long settling may go on after work had to stop.
const afterWork = 10 * time.Second

// errDrained is why work under way has to stop.
var errDrained = errors.New("the time to drain is over")

// Run takes messages until ctx ends, then lets what is in hand end within
// Config.Drain, and hands back the rest.
func (c *Consumer) Run(ctx context.Context) error {
	var err error
	c.sources, err = c.open(ctx)
	if ctx.Err() != nil {
		return nil // told to stop before it had begun
	}
	if err != nil {
		return err
	}
	c.room.measure(ctx, c.log) // before the first message is taken
	c.gate.stopping = ctx.Done()
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	settling, stopSettling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSettling()
	var background, takers sync.WaitGroup
	background.Go(func() { c.leases.renew(settling) })
	background.Go(func() { c.room.watch(ctx, c.log) })
	for _, s := range c.sources {
		background.Go(func() { c.sweep(ctx, settling, s) })
		for range c.cfg.Slots {
			takers.Go(func() { c.takeFrom(ctx, work, settling, s) })
		}
	}
	<-ctx.Done()
	overtime := time.NewTimer(c.cfg.Drain)
	defer overtime.Stop()
	background.Go(func() {
		select {
		case <-overtime.C:
		case <-c.hurry:
		case <-settling.Done():
			return
		}
		stopWork(errDrained)
		if sleep(settling, afterWork) == nil {
			stopSettling()
		}
	})
	takers.Wait()
	stopSettling()
	background.Wait()
	return nil
}

// Hurry ends the draining of a Run that was told to stop: what is in hand is
// handed back, unless its final dot has been sent.
func (c *Consumer) Hurry() { c.once.Do(func() { close(c.hurry) }) }

// open finds the durable consumers.
func (c *Consumer) open(ctx context.Context) ([]*source, error) {
	var all []*source
	for _, w := range c.cfg.Lanes {
		for _, from := range w.Lane.Sources() {
			s := &source{lane: w.Lane, stream: from.Stream, name: from.Consumer, filter: from.Filter(), fresh: from.Fresh}
			if err := c.find(ctx, s); err != nil {
				return nil, err
			}
			s.trickle = newTrickle(c.room, s.fresh)
			s.ackWait.Store(int64(s.consumer.CachedInfo().Config.AckWait))
			all = append(all, s)
		}
	}
	return all, nil
}

// reportEvery is how often the log says again what keeps a worker from taking mail.
const reportEvery = time.Minute

// find asks for a source's durable consumer until it is answered: one that has
// no leader, in a cluster that still forms or has lost servers, is away.
func (c *Consumer) find(ctx context.Context, s *source) error {
	var reported time.Time
	return c.ask(ctx, func(ctx context.Context) (err error) {
		s.consumer, err = c.Durable(ctx, s.stream, s.name)
		if errors.Is(err, stream.ErrAway) && time.Since(reported) >= reportEvery {
			reported = time.Now()
			c.log.Warn("waiting for the broker: a consumer does not answer, perhaps because it has no leader; see that most servers of the NATS cluster run and reach each other", "stream", s.stream, "consumer", s.name, "error", err)
		}
		return err
	})
}

// Delivery is how a message came into the hand that settled it.
type Delivery struct {
	// Sequence in its stream.
	Sequence uint64
	// Times it was delivered, from 1; 0 for what the sweep found.
	Times int
}

func (c *Consumer) report(h *delivery, rec *wire.Record) {
	c.metrics.settled(rec)
	if c.Settled != nil {
		c.Settled(rec, Delivery{Sequence: h.seq, Times: h.delivered})
	}
}

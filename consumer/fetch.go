package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

// fetcher fetches the messages of one source and starts a goroutine for each. Its
// fields belong to its own goroutine unless they say otherwise.
type fetcher struct {
	*Consumer
	wire.Source
	durable jetstream.Consumer
	// pending is how many messages were behind the last one fetched.
	pending int
	// flight are the deliveries being settled.
	flight sync.WaitGroup
	// ackWait is the durable consumer's as last seen, in nanoseconds; the sweeps
	// read it.
	ackWait atomic.Int64
}

// How long a pull waits for a message at the broker.
const (
	// pullBatch: slots are held for its messages, and another worker may have
	// fetched them.
	pullBatch = 100 * time.Millisecond
	// pullIdle: after it the fetcher asks whether it may still fetch.
	pullIdle = 30 * time.Second
	// goneAfter is longer than an election takes: a consumer for which nobody
	// answers for that long is gone.
	goneAfter = 15 * time.Second
)

// run fetches until live.fetch ends, and returns once everything fetched is settled
// or requeued.
func (f *fetcher) run(live lifetimes) {
	defer f.flight.Wait()
	for live.fetch.Err() == nil {
		err := f.fetchAll(live)
		if err == nil || live.fetch.Err() != nil {
			return
		}
		f.repairs.after(live.fetch, f.Source, err)
		if sleep(live.fetch, time.Second) != nil {
			return
		}
	}
}

// fetchAll fetches through one subscription, until live.fetch ends or the consumer
// does not answer.
func (f *fetcher) fetchAll(live lifetimes) error {
	p, err := newPuller(f.NATS, f.Link, f.Source, f.cfg.Slots)
	if err != nil {
		return err
	}
	defer func() {
		for _, m := range p.stop() {
			f.take(live, m, false)
		}
	}()
	var unanswered time.Time
	for {
		err := f.fetch(live, p)
		switch {
		case live.fetch.Err() != nil:
			return nil
		case err == nil, errors.Is(err, errNoMessage):
			unanswered = time.Time{}
		case !errors.Is(err, errNoConsumer), !unanswered.IsZero() && time.Since(unanswered) > goneAfter:
			return err
		case unanswered.IsZero(): // in an election this passes
			unanswered = time.Now()
		}
	}
}

// fetch fetches what free slots can take, or if nothing is pending waits for a
// message without holding a slot for it.
func (f *fetcher) fetch(live lifetimes, p *puller) error {
	if err := f.Gate.wait(live.fetch); err != nil {
		return err
	}
	if narrow, _ := f.Room.Narrow(f.Fresh); narrow || f.pending == 0 {
		m, err := p.next(live.fetch, request{batch: 1, wait: pullIdle})
		if err == nil {
			f.take(live, m, false)
		}
		return err
	}
	if err := f.slots.acquire(live.fetch, f.Lane); err != nil {
		return err
	}
	held := 1 + f.slots.more(f.Lane, f.pending-1)
	defer func() { f.slots.release(f.Lane, held) }()
	for held > 0 {
		want := request{batch: held, wait: pullBatch}
		if held > 1 {
			want.maxBytes = f.slots.count(0)
		}
		m, err := p.next(live.fetch, want)
		switch {
		case errors.Is(err, errTooLarge) && held > 1: // then alone
			f.slots.release(f.Lane, held-1)
			held = 1
			continue
		case errors.Is(err, errNoMessage):
			f.pending = 0
		}
		if err != nil {
			return err
		}
		held--
		f.take(live, m, true)
	}
	return nil
}

// take leases a message and starts its settling, in a slot of its own. While the
// store is nearly full, messages are settled one at a time, and one that waits for
// its turn holds no slot.
func (f *fetcher) take(live lifetimes, m *nats.Msg, slotted bool) {
	f.metrics.taken.WithLabelValues(string(f.Lane)).Inc()
	l := f.leases.hold(m)
	d := f.delivery(l)
	until := live.fetch
	if d.RequeuedOften() {
		until = live.work // settling schedules it if it cannot be sent
	}
	narrow, _ := f.Room.Narrow(f.Fresh)
	if narrow && slotted {
		f.slots.release(f.Lane, 1)
	}
	if narrow {
		f.flight.Wait()
	}
	if (narrow || !slotted) && f.slots.acquire(until, f.Lane) != nil {
		_ = l.Requeue(0)
		l.release()
		return
	}
	f.flight.Go(func() { f.settle(until, live, l, d) })
	if !narrow {
		return
	}
	if f.flight.Wait(); d.Kept {
		rest(live.fetch, f.Room, f.Fresh)
	}
}

// repairs makes streams and consumers that are gone, once for all fetchers: what
// interrupts one, such as a cluster without a leader, interrupts all.
type repairs struct {
	do  func(ctx context.Context) error // nil if nothing is made
	log *slog.Logger

	mu         sync.Mutex
	done, said time.Time // when it was last tried, and logged
}

const (
	repairEvery = 5 * time.Second
	reportEvery = time.Minute
)

// after repairs what interrupted a fetcher, unless that was just tried.
func (r *repairs) after(ctx context.Context, s wire.Source, interruption error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.done) < repairEvery {
		return
	}
	say := time.Since(r.said) >= reportEvery
	if say {
		r.said = time.Now()
		r.log.Warn("fetching mail was interrupted", "lane", s.Lane, "stream", s.Stream, "error", interruption)
	}
	if r.do != nil {
		if err := r.do(ctx); err != nil && say && ctx.Err() == nil {
			r.log.Warn("make streams and consumers again", "error", err)
		}
	}
	r.done = time.Now()
}

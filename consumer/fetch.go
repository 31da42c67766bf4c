package consumer

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
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

// run fetches until live.Fetch ends, and returns once everything fetched is settled
// or requeued.
func (f *fetcher) run(live settle.Span) {
	defer f.flight.Wait()
	for live.Fetch.Err() == nil {
		err := f.fetchAll(live)
		if err == nil || live.Fetch.Err() != nil {
			return
		}
		f.Interrupted(live.Fetch, f.Source, err)
		if !stream.Pause(live.Fetch, time.Second) {
			return
		}
	}
}

// fetchAll fetches through one subscription, until live.Fetch ends or the consumer
// does not answer.
func (f *fetcher) fetchAll(live settle.Span) error {
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
		case live.Fetch.Err() != nil:
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

// fetch fetches what free slots can take. If nothing is pending, or messages go
// one at a time, it waits for one message without holding a slot for it.
func (f *fetcher) fetch(live settle.Span, p *puller) error {
	if err := f.Gate.wait(live.Fetch); err != nil {
		return err
	}
	if narrow, _ := f.Room.Narrow(f.Fresh); !narrow {
		// What is fetched while every slot is busy would wait here, though another
		// worker may be free.
		if err := f.slots.acquire(live.Fetch, f.Lane); err != nil {
			return err
		}
		if f.pending > 0 {
			return f.fetchBatch(live, p)
		}
		f.slots.release(f.Lane, 1)
	}
	m, err := p.next(live.Fetch, request{batch: 1, wait: pullIdle})
	if err == nil {
		f.take(live, m, false)
	}
	return err
}

// fetchBatch fetches for the slot that is held and for further free ones.
func (f *fetcher) fetchBatch(live settle.Span, p *puller) error {
	held := 1 + f.slots.more(f.Lane, f.pending-1)
	defer func() { f.slots.release(f.Lane, held) }()
	for held > 0 {
		want := request{batch: held, wait: pullBatch}
		if held > 1 {
			want.maxBytes = f.slots.count(0)
		}
		m, err := p.next(live.Fetch, want)
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
func (f *fetcher) take(live settle.Span, m *nats.Msg, slotted bool) {
	f.metrics.taken.WithLabelValues(string(f.Lane)).Inc()
	l := f.leases.hold(m)
	d := f.delivery(l)
	until := live.Fetch
	if d.RequeuedOften() {
		until = live.Work // settling schedules it if it cannot be sent
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
		rest(live.Fetch, f.Room, f.Fresh)
	}
}

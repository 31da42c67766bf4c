package consumer

import (
	"context"
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
	// flight are the deliveries being settled, inFlight is their number, and ended
	// gets a signal after each of them.
	flight   sync.WaitGroup
	inFlight atomic.Int64
	ended    chan struct{}
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
		if err := f.fetchAll(live); err != nil {
			f.Interrupted(live.Fetch, f.Source, err)
			stream.Pause(live.Fetch, time.Second)
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
		var left []*lease
		for _, m := range p.stop() {
			left = append(left, f.hold(m))
		}
		f.take(live, left...)
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
			waiting, err := f.fetchBatch(live, p)
			f.take(live, waiting...)
			return err
		}
		f.slots.release(f.Lane, 1)
	}
	m, err := p.next(live.Fetch, request{batch: 1, wait: pullIdle})
	if err == nil {
		f.take(live, f.hold(m))
	}
	return err
}

// fetchBatch fetches for the slot that is held and for further free ones, and starts
// each message in its slot. It returns those that arrived after the store was nearly
// full: they hold no slot, and all of them are leased before the first one is
// waited for.
func (f *fetcher) fetchBatch(live settle.Span, p *puller) (waiting []*lease, err error) {
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
			return waiting, err
		}
		held--
		l := f.hold(m)
		if narrow, _ := f.Room.Narrow(f.Fresh); narrow {
			f.slots.release(f.Lane, 1)
			waiting = append(waiting, l)
		} else {
			f.start(live, l)
		}
	}
	return waiting, nil
}

// hold leases a message that arrived.
func (f *fetcher) hold(m *nats.Msg) *lease {
	f.metrics.taken.WithLabelValues(string(f.Lane)).Inc()
	l := f.leases.hold(m)
	l.delivery = f.delivery(l)
	return l
}

// take starts messages that hold no slot yet. While the store is nearly full, they
// are settled one at a time, with a pause after one that made no room.
func (f *fetcher) take(live settle.Span, all ...*lease) {
	for _, l := range all {
		until := l.mayWait(live)
		alone := f.alone(until)
		if f.slots.acquire(until, f.Lane) != nil {
			_ = l.Requeue(0)
			l.release()
			continue
		}
		f.start(live, l)
		if alone && f.alone(live.Fetch) && l.delivery.GoesOn {
			rest(live.Fetch, f.Room, f.Fresh)
		}
	}
}

// alone returns true once nothing of the source is in flight, false as soon as more
// than one message may be.
func (f *fetcher) alone(ctx context.Context) bool {
	return whileNarrow(ctx, f.Room, f.Fresh, f.ended, func() bool { return f.inFlight.Load() == 0 })
}

// mayWait is for how long a message may wait to begin.
func (l *lease) mayWait(live settle.Span) context.Context {
	if l.delivery.DeliveredOften() {
		return live.Work // settling schedules it if it cannot be sent
	}
	return live.Fetch
}

// start settles a message in the slot that is held for it.
func (f *fetcher) start(live settle.Span, l *lease) {
	f.inFlight.Add(1)
	f.flight.Go(func() {
		f.settle(live, l)
		f.inFlight.Add(-1)
		select {
		case f.ended <- struct{}{}:
		default: // a signal waits already
		}
	})
}

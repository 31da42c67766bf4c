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
	durable jetstream.Consumer // set by open, then read by the sweep only
	// pending is how many messages were behind the last one fetched.
	pending int
	// flight are the deliveries being settled, inFlight is their number, and ended
	// gets a signal after each of them. Their goroutines write here.
	flight   sync.WaitGroup
	inFlight atomic.Int64
	ended    chan struct{}
	// overdue is the search for overdue copies. Only the source's sweep uses it.
	overdue search
	// ackWait is the durable consumer's as last seen, in nanoseconds. open sets it, the
	// source's sweep too, those of all sources read it.
	ackWait atomic.Int64
}

// How long a pull waits for a message at the broker.
const (
	// pullBatch: slots are held for its messages, and another worker may have
	// fetched them.
	pullBatch = 100 * time.Millisecond
	// pullIdle: after it the fetcher asks whether it may still fetch.
	pullIdle = 10 * time.Second
)

// run fetches until live.Fetch ends, and returns once everything fetched is settled
// or requeued.
func (f *fetcher) run(live settle.Span) {
	defer f.flight.Wait()
	for live.Fetch.Err() == nil {
		if err := f.fetchAll(live); live.Fetch.Err() == nil {
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
	for err == nil || errors.Is(err, errNoMessage) {
		err = f.fetch(live, p)
	}
	var left []*lease
	for _, m := range p.stop() {
		left = append(left, f.lease(m))
	}
	f.take(live, left...)
	return err
}

// fetch fetches what free slots can take. If nothing is pending, or messages go
// one at a time, it waits for one message without holding a slot for it. What is larger
// than was asked for comes by a pull of its own.
func (f *fetcher) fetch(live settle.Span, p *puller) error {
	if err := f.Gate.wait(live.Fetch); err != nil {
		return err
	}
	if narrow, _ := f.Room.Narrow(f.Fresh); !narrow {
		// What is fetched while every slot is busy would wait here, though another
		// worker may be free.
		held, err := f.slots.Acquire(live.Fetch, f.Lane, f.pending)
		if err != nil {
			return err
		}
		if f.pending > 0 {
			return f.fetchBatch(live, p, held)
		}
		f.slots.Release(f.Lane, held)
	}
	m, err := p.next(live.Fetch, 1, f.slots.Small(), pullIdle)
	if errors.Is(err, errTooLarge) {
		return f.fetchLarge(live, p)
	}
	if err == nil {
		f.take(live, f.lease(m))
	}
	return err
}

// fetchBatch fetches for the slots that are held, and starts each message in its slot.
func (f *fetcher) fetchBatch(live settle.Span, p *puller, held int) (err error) {
	var waiting []*lease // they arrived after the store was nearly full, and hold no slot
	room := f.slots.Reserve()
	for ; held > 0 && room > 0; held-- {
		var m *nats.Msg
		if m, err = p.next(live.Fetch, held, room, pullBatch); err != nil {
			f.pending = 0
			break
		}
		l := f.lease(m)
		used := min(room, m.Size()) // counted with the lease now
		f.slots.AddBytes(-used)
		room -= used
		if narrow, _ := f.Room.Narrow(f.Fresh); narrow {
			f.slots.Release(f.Lane, 1)
			waiting = append(waiting, l)
		} else {
			f.start(live, l)
		}
	}
	f.slots.AddBytes(-room)
	f.slots.Release(f.Lane, held)
	f.take(live, waiting...) // all of them are leased before the first is waited for
	if errors.Is(err, errTooLarge) {
		return f.fetchLarge(live, p)
	}
	return err
}

// fetchLarge fetches one message of any size, once there is room for the largest.
func (f *fetcher) fetchLarge(live settle.Span, p *puller) error {
	largest := int(f.NATS.MaxPayload())
	if err := f.slots.ReserveAll(live.Fetch, largest); err != nil {
		return err
	}
	m, err := p.next(live.Fetch, 1, 0, pullBatch)
	var arrived []*lease
	if err == nil {
		arrived = append(arrived, f.lease(m))
	}
	f.slots.AddBytes(-largest)
	f.take(live, arrived...)
	return err
}

// lease leases a message that arrived.
func (f *fetcher) lease(m *nats.Msg) *lease {
	f.metrics.taken.WithLabelValues(string(f.Lane)).Inc()
	l := f.leases.add(m)
	l.delivery = f.delivery(l)
	return l
}

// take starts messages that hold no slot yet. While the store is nearly full, they
// are settled one at a time, with a pause after one that made no room.
func (f *fetcher) take(live settle.Span, all ...*lease) {
	for _, l := range all {
		until := l.mayWait(live)
		alone := f.waitUntilAlone(until)
		if _, err := f.slots.Acquire(until, f.Lane, 1); err != nil {
			_ = l.Requeue(0)
			l.release()
			continue
		}
		f.start(live, l)
		if alone && f.waitUntilAlone(live.Fetch) && l.delivery.GoesOn {
			f.rest(live.Fetch)
		}
	}
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

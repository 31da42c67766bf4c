package consumer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
)

// settleDown is how long nothing new is begun after a reconnect: a broker that was
// killed forgets its latest deliveries, and a worker that still holds such a
// message needs this long to record what it did.
const settleDown = 1500 * time.Millisecond

// Link tells what happened to the connection.
type Link interface {
	// Epoch counts disconnects.
	Epoch() int64
	// LastReconnect is the local time of the last one; zero for none.
	LastReconnect() time.Time
}

// lease is the right to work on a delivery. At the broker it begins with the delivery,
// here a moment later, when the message arrives. It has expired once half of AckWait has gone by without a renewal that
// the broker has seen, or the connection was lost, or the process did not run:
// then another worker may have the message.
type lease struct {
	// Set once.
	set   *leases
	msg   *nats.Msg
	epoch int64
	// delivery is what is settled. Its fetcher sets it. The goroutine that settles
	// owns it then; the fetcher reads GoesOn after that has ended.
	delivery *settle.Delivery
	// renewed is when it was last renewed. renew and the goroutine that settles use it,
	// guarded by set.mu.
	renewed time.Time
}

// leases renews every message in flight.
type leases struct {
	nc   *nats.Conn
	link Link
	// count is told of the bytes that come into flight and, negative, leave it.
	count func(bytes int)

	// atArrival is [Config.RenewAtArrival].
	atArrival bool

	// wait is AckWait in nanoseconds. The sweeps set it, all goroutines read it.
	wait atomic.Int64

	mu      sync.Mutex // guards what follows, and renewed of each lease
	held    map[*lease]struct{}
	pulse   time.Time // when the process last showed that it runs
	resumed time.Time // when it last ran again after it had not; zero for never
}

func newLeases(nc *nats.Conn, link Link, cfg Config, count func(bytes int)) *leases {
	s := &leases{nc: nc, link: link, count: count, atArrival: cfg.RenewAtArrival, held: make(map[*lease]struct{}), pulse: time.Now()}
	s.wait.Store(int64(cfg.AckWait))
	return s
}

// ackWait is the AckWait in use. It may be changed at the broker while workers run.
func (s *leases) ackWait() time.Duration { return time.Duration(s.wait.Load()) }

func (s *leases) add(m *nats.Msg) *lease {
	s.count(m.Size())
	l := &lease{set: s, msg: m, epoch: s.link.Epoch(), renewed: time.Now()}
	if s.atArrival {
		_ = l.renew()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[l] = struct{}{}
	return l
}

func (l *lease) release() {
	l.set.mu.Lock()
	delete(l.set.held, l)
	l.set.mu.Unlock()
	l.set.count(-l.msg.Size())
}

// Ack acknowledges and waits for the broker's answer.
func (l *lease) Ack(ctx context.Context) error {
	_, err := l.set.nc.RequestWithContext(ctx, l.msg.Reply, []byte("+ACK"))
	return err
}

// Requeue asks for the message to be delivered again after that pause. Once the lease
// has expired it does nothing: the broker would take the message from another worker
// and deliver it to a third one.
func (l *lease) Requeue(pause time.Duration) error {
	if l.Expired() {
		return nil
	}
	return l.set.nc.Publish(l.msg.Reply, fmt.Appendf(nil, `-NAK {"delay":%d}`, pause))
}

func (l *lease) renew() error { return l.set.nc.Publish(l.msg.Reply, []byte("+WPI")) }

// Expired reports that another worker may have the message.
func (l *lease) Expired() bool {
	s := l.set
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feel(now)
	// A message that was read from the connection just after the process had not
	// run may have been there all that time.
	return since(now, l.renewed) > s.ackWait()/2 || s.link.Epoch() != l.epoch ||
		!s.resumed.IsZero() && l.renewed.Before(s.resumed.Add(settleDown))
}

// feel notices that the process did not run: nobody has felt the pulse for long.
// s.mu is held.
func (s *leases) feel(now time.Time) {
	if since(now, s.pulse) > s.ackWait()/4 {
		s.resumed = now
	}
	s.pulse = now
}

// since is the time gone by on the clock that went further: the monotonic clock
// stops while the machine sleeps, the wall clock can be set.
func since(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// renew keeps the leases until ctx ends.
func (s *leases) renew(ctx context.Context) {
	for n := 0; stream.Pause(ctx, s.ackWait()/12); n++ {
		s.mu.Lock()
		s.feel(time.Now())
		s.mu.Unlock()
		if n%2 == 0 {
			s.renewAll(ctx)
		}
	}
}

func (s *leases) renewAll(ctx context.Context) {
	began := time.Now()
	s.mu.Lock()
	all := make([]*lease, 0, len(s.held))
	for l := range s.held {
		all = append(all, l)
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	for _, l := range all {
		// Also if it has expired, which does not make it ours again: the delivery may
		// be waiting for a relay, and nobody else must send it meanwhile.
		_ = l.renew() // of a message that was acked meanwhile the broker ignores it
	}
	// Only what the broker has read counts as renewed.
	ctx, cancel := context.WithTimeout(ctx, s.ackWait()/6)
	defer cancel()
	if s.nc.FlushWithContext(ctx) != nil {
		return
	}
	for _, l := range all {
		if !l.Expired() {
			s.mu.Lock()
			l.renewed = began
			s.mu.Unlock()
		}
	}
}

package consumer

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestPullEnds: a pull that brought nothing is over, so that the next message
// does not come to one who is no longer there to take it.
func TestPullEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.idle()
	p, err := newPuller(c.NATS, c.leases, lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	source, err := c.Durable(t.Context(), lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		t.Fatal(err)
	}
	for _, wait := range []time.Duration{50 * time.Millisecond, 2*pullHeartbeat + time.Millisecond} {
		if _, err := p.next(t.Context(), wait); err != errNoMessage {
			t.Fatalf("waited %s for a message: %v", wait, err)
		}
		b.publish(fmt.Sprint("m", wait), "ann@example.net")
		info, err := source.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.NumWaiting > 0 || info.NumAckPending > 0 {
			t.Errorf("after a wait of %s: %d pulls stand at the broker, %d messages came to nobody", wait, info.NumWaiting, info.NumAckPending)
		}
		x, err := p.next(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.lease.msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.lease.release()
	}
}

// TestOneAtATime: while there is little room no two mails of a source are on
// their way to the relay, those that came by an earlier pull included; with room
// again they are.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var used, now, most atomic.Int64
	var sent atomic.Int64
	used.Store(10)
	b.books.hold = func(mail.Message) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(20 * time.Millisecond) // another one would show itself
		now.Add(-1)
		sent.Add(1)
	}
	parts, _ := b.parts(nil)
	parts.Room = func(context.Context) (uint64, uint64, error) { return uint64(used.Load()), 100, nil }
	c := New(b.cfg, parts)
	b.runThis(c, nil)
	b.eventually("all takers wait at the broker", func() bool {
		s, err := b.conn.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
		return err == nil && s.CachedInfo().NumWaiting == b.cfg.Slots
	})
	for _, x := range []struct {
		used, most int64
		id         string
	}{{80, 1, "narrow"}, {10, int64(b.cfg.Slots), "wide"}} {
		used.Store(x.used)
		c.room.measure(t.Context(), c.log)
		most.Store(0)
		before := sent.Load()
		for n := range 12 {
			b.publish(fmt.Sprint(x.id, n), "ann@example.net")
		}
		b.eventually("all are sent", func() bool { return sent.Load() == before+12 })
		if x.most == 1 && most.Load() != 1 || x.most > 1 && most.Load() < 2 {
			t.Errorf("%d %% stored: %d at a time", x.used, most.Load())
		}
	}
}

// TestTurnNeedsNoPlace: a message that waits for its turn holds no place, for
// due mail needs one to make room.
func TestTurnNeedsNoPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Slots = 1
	c := b.idle()
	sources, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := sources[0]
	s.room.set(80, 100)
	if alone, err := s.enter(t.Context()); !alone || err != nil {
		t.Fatal(alone, err)
	}
	b.publish("m1", "ann@example.net")
	p, err := newPuller(c.NATS, c.leases, s.stream, s.name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	x, err := p.next(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.slots.acquire(t.Context(), lane); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.handleInTurn(t.Context(), t.Context(), t.Context(), s, taken{arrival: x, slotted: true})
	}()
	if err := c.slots.acquire(t.Context(), lane); err != nil {
		t.Fatal(err)
	}
	c.slots.release(lane)
	s.leave(t.Context(), false)
	<-done
	b.accepted("m1", map[string]int{"ann@example.net": 1})
}

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestPullEnds: a pull that brought nothing is over, so that the next message does
// not come to one who is no longer there to take it.
func TestPullEnds(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	source := bench.Lane.Sources()[0]
	c := b.Make(b.Worker(nil))
	p, err := c.NewPuller(source)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for _, wait := range []time.Duration{50 * time.Millisecond, 10*time.Second + time.Millisecond} {
		if _, err := p.Next(t.Context(), 3, 0, wait); !errors.Is(err, consumer.ErrNoMessage) {
			t.Fatalf("waited %s for a message: %v", wait, err)
		}
		b.Publish(fmt.Sprint("m", wait), "ann@example.net")
		if info := durable(b, source); info.NumWaiting > 0 || info.NumAckPending > 0 {
			t.Errorf("after a wait of %s: %d pulls wait at the broker, %d messages came to nobody", wait, info.NumWaiting, info.NumAckPending)
		}
		m, err := p.Next(t.Context(), 1, 0, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.AckSync(); err != nil {
			t.Fatal(err)
		}
	}
}

func durable(b *bench.Bench, s wire.Source) *jetstream.ConsumerInfo {
	b.T.Helper()
	q, err := b.Conn.Consumer(b.T.Context(), s.Stream, s.Consumer)
	if err != nil {
		b.T.Fatal(err)
	}
	return q.CachedInfo()
}

// TestBatch: one pull brings as many messages as it asks for, and no more bytes than
// it allows; a message that alone is larger comes by a pull of its own.
func TestBatch(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	c := b.Make(b.Worker(nil))
	for i := range 5 {
		b.PublishWith(fmt.Sprint("m", i), `,"subject":"`+strings.Repeat("x", 900)+`"`, "ann@example.net")
	}
	p, err := c.NewPuller(bench.Lane.Sources()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for range 2 {
		if _, err := p.Next(t.Context(), 2, 0, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Next(t.Context(), 3, 500, time.Second); !errors.Is(err, consumer.ErrTooLarge) {
		t.Fatalf("a message beyond the bound: %v", err)
	}
	got := 0
	for range 3 {
		if _, err := p.Next(t.Context(), 3, 2500, time.Second); err != nil {
			break
		}
		got++
	}
	if got != 2 {
		t.Errorf("%d messages of about 1,100 bytes came by a pull of 2,500 bytes", got)
	}
}

// TestBatchesInARow: the broker tells that a pull is complete when bytes are left of
// its bound. That is no reason to wait before the next one.
func TestBatchesInARow(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	c := b.Make(b.Worker(nil))
	const rounds, batch = 10, 2
	for i := range rounds * batch {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
	}
	p, err := c.NewPuller(bench.Lane.Sources()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	began := time.Now()
	for range rounds {
		for left := batch; left > 0; left-- {
			if _, err := p.Next(t.Context(), left, 1<<20, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	if took := time.Since(began); took > 2*time.Second { // a wait for each would take 2.25 s
		t.Errorf("%d pulls took %s", rounds, took)
	}
}

// TestBytesInFlight: while the messages in flight take more bytes than may be, none
// is begun but one by one.
func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.MaxBytes = 2000
	var now, most atomic.Int64
	b.Relay.Hold = func(mail.Message) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(20 * time.Millisecond) // another one would show itself
		now.Add(-1)
	}
	for i := range 12 {
		b.PublishWith(fmt.Sprint("m", i), `,"html":"`+strings.Repeat("x", 3000)+`"`, "ann@example.net")
	}
	b.Work(nil)
	b.Settled()
	if n := most.Load(); n != 1 {
		t.Errorf("%d at a time", n)
	}
	for i := range 12 {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
	}
}

// TestOneAtATime: while there is little room no two messages of a source are on
// their way to the relay, those that came by an earlier pull included; with room
// again they are.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	var used, now, most, sent atomic.Int64
	used.Store(10)
	b.Relay.Hold = func(mail.Message) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(20 * time.Millisecond) // another one would show itself
		now.Add(-1)
		sent.Add(1)
	}
	w := b.Worker(nil)
	fill := broker.NewFill(t.Context(), func(context.Context) (uint64, uint64, error) { return uint64(used.Load()), 100, nil }, slog.New(slog.DiscardHandler))
	w.Consumer.Room = fill
	c := b.Make(w)
	b.Run(c, nil)
	b.Eventually("a pull waits at the broker", func() bool { return durable(b, bench.Lane.Sources()[0]).NumWaiting == 1 })
	for _, x := range []struct {
		used, most int64
		id         string
	}{{80, 1, "narrow"}, {10, int64(b.Config.Slots), "wide"}} {
		used.Store(x.used)
		fill.Measure(t.Context())
		most.Store(0)
		before := sent.Load()
		for n := range 12 {
			b.Publish(fmt.Sprint(x.id, n), "ann@example.net")
		}
		b.Eventually("all are sent", func() bool { return sent.Load() == before+12 })
		if x.most == 1 && most.Load() != 1 || x.most > 1 && most.Load() < 2 {
			t.Errorf("%d %% stored: %d at a time", x.used, most.Load())
		}
	}
}

// TestTurnNeedsNoSlot: a message that waits for its turn holds no slot, for due mail
// needs one to make room.
func TestTurnNeedsNoSlot(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.Slots = 2
	begun, release := make(chan struct{}, 10), make(chan struct{})
	b.Relay.Hold = func(mail.Message) { begun <- struct{}{}; <-release }
	w := b.Worker(nil)
	w.Consumer.Room = broker.NewFill(t.Context(), func(context.Context) (uint64, uint64, error) { return 80, 100, nil }, slog.New(slog.DiscardHandler))
	c := b.Make(w)
	b.Run(c, nil)
	b.Publish("m1", "ann@example.net")
	<-begun
	b.Publish("m2", "ann@example.net")
	b.Publish("m3", "ann@example.net")
	if err := c.Slot(t.Context(), bench.Lane); err != nil {
		t.Fatal(err)
	}
	c.FreeSlot(bench.Lane)
	close(release)
	b.Settled()
}

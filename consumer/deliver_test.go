package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// TestDeliveredOften: a relay that comes and goes and workers that are
// replaced make many deliveries of one message. That is no crash loop.
func TestDeliveredOften(t *testing.T) {
	t.Parallel()
	for name, stopping := range map[string]bool{"relay down": false, "worker stopping": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench.New(t)
			b.Publish("m", "ann@example.net")
			b.Relay.SetDown(true)
			cfg := b.Config
			cfg.AckWait = time.Hour
			b.Config, cfg = cfg, b.Config
			w := b.Make(b.Worker(nil))
			b.Config = cfg
			taking, stop := context.WithCancel(t.Context())
			if stopping {
				stop()
			}
			defer stop()
			for range 18 { // more than make a crash loop
				more, err := w.TakeOne(taking, t.Context(), bench.Lane.Sources()[0])
				if err != nil {
					t.Fatal(err)
				}
				if !more {
					break // it is scheduled
				}
			}
			b.Relay.SetDown(false)
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"ann@example.net": 1})
			if dead := b.Dead(); len(dead) > 0 {
				t.Errorf("dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

// TestPanic: a message that makes our code panic harms no other.
func TestPanic(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Relay.Hold = func(m mail.Message) {
		if m.ID == "poison" {
			panic("poisoned")
		}
	}
	w := b.Worker(nil)
	w.Consumer.Log = slog.New(slog.DiscardHandler)
	c := b.Make(w)
	b.Publish("poison", "ann@example.net")
	b.Publish("good", "bob@example.net")
	for range 2 {
		if _, err := c.TakeOne(t.Context(), t.Context(), bench.Lane.Sources()[0]); err != nil {
			t.Fatal(err)
		}
	}
	b.Accepted("good", map[string]int{"bob@example.net": 1})
	if n := b.Queued(); n != 1 {
		t.Errorf("%d in the queue, want the poisoned one", n)
	}
	if n := w.Counted(t, "panics_total"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

// refusing is a journal whose broker answers, and refuses.
type refusing struct{ settle.Journal }

func (refusing) Set(context.Context, wire.Key, *wire.Record, uint64, bool) (uint64, error) {
	return 0, errors.New("permissions violation")
}

// TestLeft: what the broker refuses to settle stays in its stream, and is counted.
func TestLeft(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	w := b.Worker(nil)
	w.Settle.Journal = refusing{w.Settle.Journal}
	w.Consumer.Log = slog.New(slog.DiscardHandler)
	c := b.Make(w)
	b.Publish("refused", "ann@example.net")
	if _, err := c.TakeOne(t.Context(), t.Context(), bench.Lane.Sources()[0]); err != nil {
		t.Fatal(err)
	}
	if n, queued := w.Counted(t, "left_total"), b.Queued(); n != 1 || queued != 1 {
		t.Errorf("%v counted, %d in the queue, want one and one", n, queued)
	}
}

// TestDrain: what is in flight ends, what waits is requeued, nothing is lost
// and nothing comes twice.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	for i := range 40 {
		b.Publish(fmt.Sprintf("m%d", i), "ann@example.net")
	}
	first := make(chan struct{}, 100)
	release := make(chan struct{})
	b.Relay.Hold = func(mail.Message) { first <- struct{}{}; <-release }
	stop := b.Work(nil)
	<-first
	time.AfterFunc(200*time.Millisecond, func() { close(release) })
	stop()
	b.Relay.Hold = nil
	b.Work(nil)
	b.Settled()
	for i := range 40 {
		b.Accepted(fmt.Sprintf("m%d", i), map[string]int{"ann@example.net": 1})
	}
}

// TestHurry: a worker that is told to stop at once requeues what it has in flight,
// and another one sends it.
func TestHurry(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.Drain = time.Hour
	c := b.Make(b.Worker(nil))
	begun, release := make(chan struct{}), make(chan struct{})
	b.Relay.Hold = func(mail.Message) { close(begun); <-release }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	b.Publish("m", "ann@example.net")
	<-begun
	cancel()
	c.Hurry()
	time.AfterFunc(300*time.Millisecond, func() { close(release) }) // the relay's session is cut off
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.Relay.Hold = nil
	b.Accepted("m", map[string]int{"ann@example.net": 0})
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

// TestAckWaitChanges: a worker uses another AckWait soon after it was changed at the
// broker, so that leases are renewed in time.
func TestAckWaitChanges(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.AckWait = time.Hour
	w := b.Make(b.Worker(nil))
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.SweepAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.AckWait(); got != 2*time.Second {
		t.Errorf("it uses %s, want what the broker has", got)
	}
}

package storm

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestNightOff: every process is killed between a mail's record and its ack,
// and started again when the record has expired. The log still knows.
//
// The worker that is killed never acks, and its final records live for two seconds.
func TestNightOff(t *testing.T) {
	testrun.Beside(t)
	s := begin(t, Config{
		Bin: build(t, mutant), Workers: 1, Drained: time.Minute, Env: []string{"TEST_MUTANT=never-ack", "POSTRIDER_LANES=normal=1", "SMTP_MAX_SESSIONS=10", "POSTRIDER_ACK_WAIT=10s"},
	})
	const held = 20 // what two workers take at once
	p := s.producer(4)
	if err := p.Publish(t.Context(), held, OneMail); err != nil {
		t.Fatal(err)
	}
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	logged := func() bool { return messages(t, c, wire.StreamEvent) >= held }
	testrun.Eventually(t, "all are recorded, and the log has it", time.Minute, logged)
	// The broker writes down what it has delivered a moment after it did so.
	stream.Pause(t.Context(), 2*time.Second)
	for _, w := range append(s.workers, s.broker) {
		if err := w.End(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.kills++
	}
	s.workers = nil
	s.passNight(t)

	s.Bin = build(t, worker)
	if err := s.startBroker(); err != nil {
		t.Fatal(err)
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent again", r.Twice)
	if r.Delivered != held {
		t.Errorf("%d of %d delivered", r.Delivered, held)
	}
}

// passNight lets the broker run by itself until no final record is left.
func (s *storm) passNight(t *testing.T) {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen, cfg.DataDir = s.get("NATS_LISTEN"), s.get("POSTRIDER_DATA_DIR")
	e, err := embedded.Start(t.Context(), cfg, []wire.Lane{"normal"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), ready)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	c, err := e.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testrun.Eventually(t, "the records have expired", time.Minute, func() bool { return messages(t, c, wire.StreamRecord) == 0 })
	if left, err := queued(t.Context(), c); left == 0 || err != nil {
		t.Fatalf("%d mails were killed before their ack: %v", left, err)
	}
}

// messages is how many a stream has.
func messages(t *testing.T, c *broker.Conn, stream string) uint64 {
	t.Helper()
	i, err := c.JS().Stream(t.Context(), stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return i.CachedInfo().State.Msgs
}

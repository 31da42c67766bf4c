package consumer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

// TestLeaderStops runs two workers on three servers and stops, one after the
// other, the servers that lead the bench.Lane, its copies and the records. All mail
// is settled; sent again is at most what was in flight.
func TestLeaderStops(t *testing.T) {
	t.Parallel()
	bench.Reserve(t)
	const mails = 90
	n := natstest.StartCluster(t, 5*time.Second, bench.Lane)
	b := bench.On(t, n.Connect)
	b.Config.AckWait = 5 * time.Second
	b.Work(nil)
	b.Work(nil)
	sent := 0
	send := func(to int) {
		for ; sent < to; sent++ {
			b.PublishUntilStored(fmt.Sprintf("m%d", sent), fmt.Sprintf("ann@a%d.example", sent), fmt.Sprintf("450x1@b%d.example", sent))
		}
	}
	streams := []string{bench.Lane.SendStream(), bench.Lane.LaterStream(), wire.StreamRecord}
	for k, stream := range streams {
		send((k + 1) * mails / len(streams))
		var leader int
		b.Eventually("the stream has a leader", func() bool { leader = n.Leader(stream); return leader >= 0 })
		n.Stop(leader)
		send(sent + 5)
		n.Start(t, leader)
	}
	// A leader that was elected a moment ago may count no message of those it has: so
	// an empty queue alone does not say that all is over.
	twice, lost := 0, ""
	b.Eventually("all are accepted", func() bool {
		twice, lost = 0, ""
		accepted := b.Relay.Accepted()
		for i := range sent {
			id := fmt.Sprintf("m%d", i)
			for _, a := range []string{fmt.Sprintf("ann@a%d.example", i), fmt.Sprintf("450x1@b%d.example", i)} {
				got := accepted[id+" "+a]
				if got == 0 {
					lost += " " + id + " for " + a
				}
				twice += max(0, got-1)
			}
		}
		return lost == ""
	}, func() string { return "lost:" + lost })
	b.Settled()
	t.Logf("acknowledged=%d lost=0 twice=%d", 2*sent, twice)
	if most := len(streams) * 2 * b.Config.Slots * 2; twice > most {
		t.Errorf("%d were sent twice, at most %d can have been in flight", twice, most)
	}
}

// TestConsumerInALeaderlessCluster: two of three servers are away, and the third
// says so, instead of saying nothing. A worker that starts then waits.
func TestConsumerInALeaderlessCluster(t *testing.T) {
	t.Parallel()
	bench.Reserve(t)
	n := natstest.StartCluster(t, 5*time.Second, bench.Lane)
	b := bench.On(t, n.Connect)
	parts := b.Worker(nil)
	said := &heard{words: "temporarily unavailable", yes: make(chan struct{})}
	parts.Consumer.Log = slog.New(slog.NewTextHandler(said, nil))
	w := b.Make(parts)
	n.Stop(0)
	n.Stop(1)
	b.Eventually("the third says so", func() bool {
		_, err := b.Conn.JS().Consumer(t.Context(), bench.Lane.SendStream(), bench.Lane.Sources()[0].Consumer)
		refusal, ok := errors.AsType[*jetstream.APIError](err)
		return ok && refusal.ErrorCode == 10008
	})
	opened := make(chan error, 1)
	go func() {
		opened <- w.Open(t.Context())
	}()
	select {
	case err := <-opened:
		t.Fatalf("it does not wait: %v", err)
	case <-said.yes:
	}
	n.Start(t, 0)
	n.Start(t, 1)
	select {
	case err := <-opened:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("the cluster is whole, and it still waits")
	}
}

// heard closes yes when a line with those words is logged.
type heard struct {
	words string
	once  sync.Once
	yes   chan struct{}
}

func (h *heard) Write(line []byte) (int, error) {
	if strings.Contains(string(line), h.words) {
		h.once.Do(func() { close(h.yes) })
	}
	return len(line), nil
}

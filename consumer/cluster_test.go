package consumer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
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

// TestLeaderStepsDown: a new leader of the consumer takes nothing in flight for expired,
// though the mail is older than AckWait, as a backlog is. If leases are not renewed at
// arrival, it takes everything for expired.
func TestLeaderStepsDown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		renewed bool
		times   int
	}{"renewed": {true, 1}, "not renewed": {false, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stepDownInFlight(t, c.renewed, c.times)
		})
	}
}

// stepDownInFlight has the leader step down while old mail is in flight, and checks how
// many times each is sent.
func stepDownInFlight(t *testing.T, renewed bool, times int) {
	t.Helper()
	bench.Reserve(t)
	const mails, ackWait = 4, 6 * time.Second
	n := natstest.StartCluster(t, ackWait, bench.Lane)
	b := bench.On(t, n.Connect)
	b.Config.RenewAtArrival = renewed
	// The next renewal is 3.3 s after the start, as it may be 20 s after it with the
	// default: a new leader looks for what has expired after 0.5 to 1.5 s.
	b.Config.AckWait, b.Config.SweepInterval = 40*time.Second, time.Minute
	for i := range mails {
		b.PublishUntilStored(fmt.Sprintf("m%d", i), fmt.Sprintf("ann@a%d.example", i))
	}
	time.Sleep(ackWait + time.Second) // they grow old
	open := make(chan struct{})
	var held atomic.Int32
	b.Relay.Hold = func(mail.Message) { held.Add(1); <-open }
	release := sync.OnceFunc(func() { close(open) })
	defer release()
	b.Work(nil)
	b.Work(nil) // it has free slots for what would be delivered again
	source := bench.Lane.Sources()[0]
	b.Eventually("all are in flight", func() bool { return held.Load() == mails })
	time.Sleep(300 * time.Millisecond) // nobody says when the renewals are on all servers
	b.Eventually("the leader steps down", func() bool {
		_, err := b.Conn.NC().Request("$JS.API.CONSUMER.LEADER.STEPDOWN."+source.Stream+"."+source.Consumer, nil, time.Second)
		return err == nil
	})
	time.Sleep(ackWait) // an expired delivery is made again by then
	release()
	b.Settled()
	for i := range mails {
		b.Accepted(fmt.Sprintf("m%d", i), map[string]int{fmt.Sprintf("ann@a%d.example", i): times})
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

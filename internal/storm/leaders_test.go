package storm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
)

// TestLeadersStepDown: two workers deliver a backlog while other servers come to lead
// its streams and consumers, and in the second half workers are killed. Nothing is sent
// twice but what was in transmission at a kill, or arrived when a leader stepped down.
func TestLeadersStepDown(t *testing.T) {
	testrun.Beside(t)
	r, n := deliverBacklog(t, build(t, worker), true)
	none(t, "lost", r.Lost)
	none(t, "dead though delivered", r.Both)
	if len(r.Unexplained) > n/4 { // in full it was none in 119 step-downs
		t.Errorf("%d were sent twice in %d step-downs, and not open at a kill: %v", len(r.Unexplained), n, r.Unexplained)
	}
}

// TestNotRenewedAtArrival proves it: if leases are not renewed at arrival, a new leader
// of a consumer delivers again what is in flight.
func TestNotRenewedAtArrival(t *testing.T) {
	if !testrun.Full() {
		t.Skip("only in full: with a short AckWait all leases are renewed before a new leader looks for those that expired")
	}
	overlay, err := Changed(root, t.TempDir(), "internal/app/parts.go", "= w.set.Broker.AckWait, !w.set.embedded()", "= w.set.Broker.AckWait, false")
	if err != nil {
		t.Fatal(err)
	}
	r, n := deliverBacklog(t, build(t, worker, "-overlay="+overlay), false)
	none(t, "lost", r.Lost)
	if len(r.Twice) <= n/4 {
		t.Errorf("%d were sent twice in %d step-downs: the test sees nothing", len(r.Twice), n)
	}
}

// deliverBacklog lets mail on three servers grow older than AckWait, and has two workers
// deliver it while leaders step down: for backlogFor, and then as long again if workers
// are to be killed. It returns how many leaders stepped down.
func deliverBacklog(t *testing.T, bin string, kill bool) (*Report, int) {
	t.Helper()
	const reply, sessions = 2 * time.Second, 20
	cluster := natstest.StartCluster(t, backlogAckWait, lane)
	s := begin(t, Config{
		Bin: bin, URL: cluster.Config.URL, For: backlogFor, KillEvery: backlogKillEvery,
		Env:       []string{"POSTRIDER_LANES=normal=1", "POSTRIDER_ACK_WAIT=" + backlogAckWait.String(), fmt.Sprint("SMTP_MAX_SESSIONS=", sessions)},
		RelayArgs: []string{"-delay", reply.String()},
	})
	p := s.producer(8)
	mails := int(2 * sessions * backlogFor / reply) // each is one transaction or a few
	if kill {
		mails *= 2
	}
	if err := p.Publish(t.Context(), mails, MixedMail); err != nil {
		t.Fatal(err)
	}
	stream.Pause(t.Context(), backlogAckWait+time.Second) // it grows old
	for range 2 {
		if err := s.startWorker(); err != nil {
			t.Fatal(err)
		}
	}
	storming, over := context.WithCancel(t.Context())
	stepped := make(chan int, 1)
	nc := cluster.Connect(t, broker.Operator).NC()
	go func() { stepped <- StepDowns(storming, nc, stepEvery) }()
	stream.Pause(t.Context(), backlogFor)
	if kill {
		if err := s.rage(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	over()
	n := <-stepped
	r := s.settled(t, p)
	t.Logf("leaders that stepped down: %d", n)
	return r, n
}

package storm

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/testrun"
)

// TestUpgrade: a newer worker (a raised settings version, and dead letters kept for a
// day longer) beside an older one. Mail that was queued by
// the older is settled by the newer, and nothing that the newer has set is
// undone by the older, which goes on.
func TestUpgrade(t *testing.T) {
	testrun.Beside(t)
	older, newer := build(t, worker), buildNewer(t)
	s := begin(t, Config{Bin: older, Workers: 1})
	p := s.producer(4)
	publish := func(n int) {
		t.Helper()
		if err := p.Publish(t.Context(), n, MixedMail); err != nil {
			t.Fatal(err)
		}
	}
	publish(upgradeMails)
	s.deadFor(t, 90*24*time.Hour)
	s.Bin = newer
	if err := s.startWorker(); err != nil {
		t.Fatal(err)
	}
	young := s.workers[1]
	testrun.Eventually(t, "the newer sets what is new", ready, func() bool { return metric(t, young, "postrider_in_flight") >= 0 })
	s.deadFor(t, 91*24*time.Hour)
	p.next.Store(int64(upgradeMails))
	publish(2 * upgradeMails)
	testrun.Eventually(t, "the newer settles", ready, func() bool { return metric(t, young, "postrider_settled_total") > 0 })
	// An older one that starts now undoes nothing.
	s.Bin = older
	if err := s.startWorker(); err != nil {
		t.Fatal(err)
	}
	metric(t, s.workers[2], "postrider_in_flight")
	s.deadFor(t, 91*24*time.Hour)
	// The older ones go, with mail of theirs in the queue; the newer has the store.
	p.next.Store(int64(2 * upgradeMails))
	publish(3 * upgradeMails)
	// What the relay accepts while the broker is away cannot be recorded.
	away := Fault{From: time.Now()}
	for _, old := range []*Process{s.workers[0], s.workers[2], s.broker} {
		if err := old.End(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	s.Bin = newer
	if err := s.startBroker(); err != nil {
		t.Fatal(err)
	}
	away.To = time.Now().Add(settle)
	s.faults = append(s.faults, away)
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice and not open while the broker was away", r.Unexplained)
	none(t, "dead though delivered", r.Both)
	s.deadFor(t, 91*24*time.Hour)
}

// deadFor holds how long dead letters are kept.
func (s *storm) deadFor(t *testing.T, want time.Duration) {
	t.Helper()
	cfg := broker.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.Role = s.get("NATS_LISTEN"), s.get("POSTRIDER_DATA_DIR"), broker.Operator
	c, err := broker.Dial(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dead, err := c.JS().Stream(t.Context(), "MAIL_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if got := dead.CachedInfo().Config.MaxAge; got != want {
		t.Errorf("dead letters are kept for %s, want %s", got, want)
	}
}

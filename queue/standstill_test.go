package queue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// in is the same queue, seen that much later.
func (b *testQueue) in(later time.Duration) *queue.Queue {
	conn := b.broker.Conn
	return queue.New(conn.JS(), b.store, func() time.Time { return conn.Now().Add(later) }, conn.Room)
}

func (b *testQueue) statusIn(later time.Duration) *queue.Status {
	b.t.Helper()
	s, err := b.in(later).Status(b.t.Context())
	b.must(err)
	return s
}

// keep has a worker of that host say that of itself.
func (b *testQueue) keep(w *wire.Worker) {
	b.t.Helper()
	body, err := w.Encode()
	b.must(err)
	b.must(b.store.Keep(b.t.Context(), w.Subject(), body, time.Minute))
}

// TestStandstill: a lane with mail that has settled none for five seconds has no rate and
// no forecast; what it settled in the minute is still said. Without mail it has a rate.
func TestStandstill(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	for i := range 20 {
		b.record(fmt.Sprintf("r%d", i), wire.EventDelivered)
	}
	if l := b.statusIn(20 * time.Second).Lanes[0]; l.Rate == 0 || l.Settled != 20 {
		t.Errorf("without mail: %+v", l)
	}
	b.publish(lane, "", envelope("m"))
	if l := b.statusIn(20 * time.Second).Lanes[0]; l.Rate != 0 || !l.Empty.IsZero() || l.Settled != 20 {
		t.Errorf("it stands: %+v", l)
	}
	if l := b.statusIn(2 * time.Minute).Lanes[0]; l.Rate != 0 || l.Settled != 0 {
		t.Errorf("it stands for long: %+v", l)
	}
	b.record("last", wire.EventDelivered)
	if l := b.status().Lanes[0]; l.Rate == 0 || l.Empty.IsZero() || l.Settled != 21 {
		t.Errorf("it moves: %+v", l)
	}
}

// TestWorkersAtTheBroker: what workers say is read with the broker's time, one that is
// silent is lost, and what cannot be read is said.
func TestWorkersAtTheBroker(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	said := func(s *queue.Status) string {
		var all []string
		for _, w := range s.Workers.All {
			all = append(all, fmt.Sprint(w.Host, " ", w.State, " lost=", w.Lost, " at=", s.At.Sub(w.At).Round(time.Minute)))
		}
		return strings.Join(all, "; ")
	}
	if s := b.status(); said(s) != "" || s.Workers.Unread != "" {
		t.Errorf("%+v", s.Workers)
	}
	b.publish(lane, "", envelope("m"))
	w := &wire.Worker{V: wire.WorkerVersion, ID: "1", Host: "h1", State: wire.WorkerRunning, Lanes: []wire.Lane{lane}, Relay: wire.Relay{Name: "r:25", State: wire.RelayUp}, At: time.Unix(1, 0)}
	b.keep(w)
	if got, want := said(b.status()), "h1 running lost=false at=0s"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if s := b.statusIn(50 * time.Second); said(s) != "h1 running lost=true at=1m0s" || !s.Lanes[0].Stands() {
		t.Errorf("%s", said(s))
	}
	w.V++
	w.ID = "2"
	b.keep(w)
	if s := b.status(); said(s) != "h1 running lost=false at=0s" || !strings.Contains(s.Workers.Unread, "newer version") {
		t.Errorf("%s, %s", said(s), s.Workers.Unread)
	}
	b.must(b.store.Drop(t.Context(), (&wire.Worker{ID: "1"}).Subject()))
	// Of a newer one it is not known what it does.
	if s := b.status(); said(s) != "" || s.Lanes[0].Stands() {
		t.Errorf("%s, %+v", said(s), s.Lanes[0])
	}
	b.must(b.broker.Conn.JS().DeleteStream(t.Context(), wire.StreamState))
	if s := b.status(); !strings.Contains(s.Workers.Unread, "no such stream") || s.Lanes[0].Stands() {
		t.Errorf("%+v", s.Workers)
	}
}

// TestHeldLane: mail that is requeued is not settled, and a lane that waits for its relay
// has no rate and no forecast.
func TestHeldLane(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	b.publish(lane, "", envelope("m"))
	for i := range 20 {
		b.record(fmt.Sprintf("q%d", i), wire.EventRequeued)
	}
	if l := b.status().Lanes[0]; l.Settled != 0 || l.Rate != 0 || !l.Empty.IsZero() {
		t.Errorf("only requeued: %+v", l)
	}
	b.record("d", wire.EventDelivered)
	if l := b.status().Lanes[0]; l.Settled != 1 || l.Rate == 0 {
		t.Errorf("one is delivered: %+v", l)
	}
	b.keep(&wire.Worker{
		V: wire.WorkerVersion, ID: "W", Host: "h", State: wire.WorkerWaiting, Lanes: []wire.Lane{lane}, Started: b.broker.Conn.Now(),
		Relay: wire.Relay{Name: "r:25", State: wire.RelayDown, Since: b.broker.Conn.Now(), Words: "refused", Hint: "ask"},
	})
	if l := b.status().Lanes[0]; l.Settled != 1 || l.Rate != 0 || !l.Empty.IsZero() {
		t.Errorf("its relay is down: %+v", l)
	}
}

// TestNoWorkerLeft: what was settled a moment ago does not stand for a worker that runs.
func TestNoWorkerLeft(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	b.record("d", wire.EventDelivered)
	s := b.status()
	if words := s.Workers.Words(s.Lanes, s.At); words != "none is running" {
		t.Error(words)
	}
}

// TestOutlivedEntry: a killed server brings back entries that it had removed, and keeps
// them. A worker that is lost for so long is not told of.
func TestOutlivedEntry(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	b.keep(&wire.Worker{V: wire.WorkerVersion, ID: "W", Host: "h", State: wire.WorkerRunning, Lanes: []wire.Lane{lane}, Started: b.broker.Conn.Now()})
	for later, want := range map[time.Duration]int{0: 1, 50 * time.Second: 1, 70 * time.Second: 0} {
		if got := b.statusIn(later).Workers.All; len(got) != want {
			t.Errorf("after %s: %+v", later, got)
		}
	}
}

package consumer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestOverdue: a broker whose store is full when copies become due never fires them. The
// sweep does.
func TestOverdue(t *testing.T) {
	t.Parallel()
	bench.Reserve(t)
	cfg := broker.DefaultConfig()
	cfg.DataDir = t.TempDir()
	cfg.URL = natstest.StartServer(t, func(o *server.Options) { o.JetStreamMaxStore = 64 << 20 })
	dial := func(t testing.TB, role broker.Role) *broker.Conn { return natstest.Dial(t, cfg, role) }
	b := bench.On(t, func(t testing.TB, role broker.Role) *broker.Conn { return dial(t, role) })
	if _, err := broker.Provision(t.Context(), b.Conn, []wire.Lane{bench.Lane}, cfg); err != nil {
		t.Fatal(err)
	}
	n, last := 0, uint64(0)
	fill := func() {
		for {
			n++
			seq, err := b.Store.Set(t.Context(), &nats.Msg{Subject: fmt.Sprintf("mail.dead.normal.x.%d-1.all", n), Data: make([]byte, 500<<10)}, "", 0)
			if errors.Is(err, stream.ErrFull) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			last = seq
		}
	}
	fill()
	if err := b.Store.Delete(t.Context(), wire.StreamDead, last); err != nil {
		t.Fatal(err)
	}
	const copies = 5
	due := b.Conn.Now().Add(2 * time.Second)
	for i := range copies {
		c := wire.Copy{Key: wire.Key{Lane: bench.Lane, ID: fmt.Sprint("m", i), Origin: fmt.Sprintf("1700000000000000000-%d", i+1), Recipient: wire.All}, Generation: 1, Attempts: 1, Enqueued: b.Conn.Now()}
		m := nats.NewMsg(c.Key.CopySubject(wire.CopyLater))
		m.Header = c.Headers(nil)
		wire.Schedule(m.Header, due, c.Key)
		m.Data = fmt.Appendf(nil, `{"id":"m%d","from":"a@example.com","to":["ann@example.net"],"text":"hi"}`, i)
		if _, _, err := b.Store.Put(t.Context(), m, c.Key.CopySubject(wire.CopyAny), 0, c.Generation); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	time.Sleep(time.Until(due) + time.Second) // with the store full
	dead, err := b.Conn.JS().Stream(t.Context(), wire.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	fired := func() int {
		s, err := b.Conn.JS().Stream(t.Context(), bench.Lane.LaterStream())
		if err != nil {
			t.Fatal(err)
		}
		i, err := s.Info(t.Context(), jetstream.WithSubjectFilter(bench.Lane.CopySubjects(wire.CopyDue)))
		if err != nil {
			t.Fatal(err)
		}
		return len(i.State.Subjects)
	}
	time.Sleep(2 * time.Second) // the broker has room and time to fire
	if n := fired(); n > 0 {
		t.Logf("the broker fired %d of %d by itself", n, copies)
	}
	w := b.Worker(nil)
	now := w.Consumer.Now
	w.Consumer.Now = func() time.Time { return now().Add(time.Minute) }
	c := b.Make(w)
	if err := c.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.SweepAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	testrun.Eventually(t, "all have fired", natstest.Timeout, func() bool { return fired() == copies })
	// Once more, with everything fired: nothing is published again.
	if err := c.SweepAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Work(nil)
	b.Settled()
	for i := range copies {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
	}
}

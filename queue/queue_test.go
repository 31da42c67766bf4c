package queue_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const lane wire.Lane = "normal"

// testQueue is a broker and what is in it.
type testQueue struct {
	*queue.Queue
	t      testing.TB
	broker *natstest.Broker
	store  *stream.Store
}

func newTestQueue(t testing.TB, lanes ...wire.Lane) *testQueue {
	t.Helper()
	b := &testQueue{t: t, broker: natstest.Start(t, lanes...)}
	conn := b.broker.Conn
	b.store = conn.Store()
	b.Queue = queue.New(conn.JS(), b.store, conn.Now, conn.Room)
	return b
}

func (b *testQueue) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// publish publishes a mail as a producer does; msgID may be empty.
func (b *testQueue) publish(lane wire.Lane, msgID, body string) uint64 {
	b.t.Helper()
	var opts []jetstream.PublishOpt
	if msgID != "" {
		opts = append(opts, jetstream.WithMsgID(msgID))
	}
	ack, err := b.broker.Conn.JS().Publish(b.t.Context(), lane.SendSubject(), []byte(body), opts...)
	b.must(err)
	return ack.Sequence
}

func envelope(id string) string {
	return fmt.Sprintf(`{"id":%q,"from":"a@example.com","to":["b@example.net"],"text":"hi"}`, id)
}

func keyOf(id string) wire.Key {
	return wire.Key{Lane: lane, ID: id, Origin: "1700000000000000000-7", Recipient: wire.All}
}

// later puts a copy that is due at that time.
func (b *testQueue) later(id string, at time.Time) {
	b.t.Helper()
	c := wire.Copy{Key: keyOf(id), Generation: 1, Attempts: 1, Enqueued: b.broker.Conn.Now()}
	m := nats.NewMsg(c.Key.CopySubject(wire.CopyLater))
	m.Header = c.Headers(nil)
	wire.Schedule(m.Header, at, c.Key)
	m.Data = []byte(envelope(id))
	_, _, err := b.store.Put(b.t.Context(), m, c.Key.CopySubject(wire.CopyAny), 0, c.Generation)
	b.must(err)
}

// take is a worker that has taken so many messages.
func (b *testQueue) take(n int) []jetstream.Msg {
	b.t.Helper()
	q, err := b.broker.Connect(b.t, broker.Worker).JS().Consumer(b.t.Context(), lane.SendStream(), wire.ConsumerFresh)
	b.must(err)
	batch, err := q.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	b.must(err)
	var all []jetstream.Msg
	for m := range batch.Messages() {
		all = append(all, m)
	}
	b.must(batch.Error())
	if len(all) != n {
		b.t.Fatalf("took %d, want %d", len(all), n)
	}
	return all
}

func (b *testQueue) record(id string, event wire.Event) {
	b.t.Helper()
	l := keyOf(id)
	r := &wire.Record{
		V: 1, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Recipient: l.Recipient, Event: event, At: b.broker.Conn.Now(),
		Recipients: []wire.RecipientRecord{{Address: "b@example.net", State: wire.StateDelivered}},
	}
	_, err := journal.New(b.store).Set(b.t.Context(), r.Key(), r, 0, false)
	b.must(err)
}

func (b *testQueue) status() *queue.Status {
	b.t.Helper()
	g, err := b.Status(b.t.Context())
	b.must(err)
	return g
}

// eventually looks until what it sees is right.
func (b *testQueue) eventually(want string, see func(queue.Lane) string) {
	b.t.Helper()
	var got string
	testrun.Eventually(b.t, want, natstest.Timeout, func() bool {
		got = see(b.status().Lanes[0])
		return got == want
	}, func() string { return "it is " + got })
}

func counts(l queue.Lane) string {
	return fmt.Sprintf("waiting %d, due %d, in flight %d, scheduled %d, dead %d", l.Waiting, l.Due, l.InFlight, l.Scheduled, l.Dead)
}

// TestStatus: two workers have some in flight, and what the broker forgets when
// it is killed moves from one column to another and is still counted.
func TestStatus(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	b.eventually("waiting 0, due 0, in flight 0, scheduled 0, dead 0", counts)
	if l := b.status().Lanes[0]; !l.Oldest.IsZero() || l.Rate != 0 || !l.Empty.IsZero() {
		t.Errorf("an empty lane: %+v", l)
	}
	for i := range 30 {
		b.publish(lane, "", envelope(fmt.Sprintf("m%d", i)))
	}
	first, second := b.take(3), b.take(4)
	b.must(first[0].DoubleAck(t.Context()))
	b.must(second[0].DoubleAck(t.Context()))
	for i := range 5 {
		b.later(fmt.Sprintf("later%d", i), time.Now().Add(time.Hour))
	}
	b.later("due0", time.Now().Add(-time.Second))
	b.later("due1", time.Now().Add(-time.Second))
	dead := deadletter.New(b.store, journal.New(b.store), b.broker.Conn.Now)
	for i := range 4 {
		c := wire.Copy{Key: keyOf(fmt.Sprintf("dead%d", i)), Generation: 1, Enqueued: time.Now()}
		_, err := dead.Bury(t.Context(), &wire.DeadLetter{Copy: c, Reason: mail.ReasonFailed, Body: []byte(envelope("dead"))})
		b.must(err)
		if i == 0 {
			b.must(dead.Mark(t.Context(), c, wire.EventReplayed))
		}
	}
	b.eventually("waiting 23, due 2, in flight 5, scheduled 5, dead 3", counts)
	for i := range 20 {
		b.record(fmt.Sprintf("r%d", i), wire.EventDelivered)
	}
	g := b.status()
	l := g.Lanes[0]
	if age := g.At.Sub(l.Oldest); age < 0 || age > time.Minute {
		t.Errorf("the oldest is %s old", age)
	}
	// 20 records within the last moment count as 20 in five seconds.
	if l.Rate < 0.3 || l.Rate > 4 || !l.Empty.After(g.At) || g.Dead.Recent != 3 || g.Used == 0 {
		t.Errorf("%+v of %+v", l, g)
	}
	if left := l.Empty.Sub(g.At).Seconds() * l.Rate; left < 29 || left > 31 {
		t.Errorf("empty after %.1f messages, want 30", left)
	}
	b.broker.Kill(t)
	b.eventually("ready 30, scheduled 5, dead 3", func(l queue.Lane) string {
		return fmt.Sprintf("ready %d, scheduled %d, dead %d", l.Ready(), l.Scheduled, l.Dead)
	})
}

// TestLanes: each lane for itself, also one whose name has a dash, and one that is
// gone and still has dead letters.
func TestLanes(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, "urgent", "news-letter")
	b.publish("news-letter", "", envelope("n"))
	dead := deadletter.New(b.store, journal.New(b.store), b.broker.Conn.Now)
	gone := keyOf("old")
	gone.Lane = "gone"
	_, err := dead.Bury(t.Context(), &wire.DeadLetter{Copy: wire.Copy{Key: gone, Generation: 1, Enqueued: time.Now()}, Reason: mail.ReasonFailed})
	b.must(err)
	got := ""
	for _, l := range b.status().Lanes {
		got += fmt.Sprintf("%s %d %d; ", l.Lane, l.Waiting, l.Dead)
	}
	if want := "news-letter 1 0; urgent 0 0; gone 0 1; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, "normal", "bulk")
	for i := range 150 {
		b.publish(lane, fmt.Sprintf("x%d", i), envelope(fmt.Sprintf("m%d", i)))
	}
	taken := b.take(2)
	b.publish("bulk", "by-header", `{"from":"a@example.com","to":["b@example.net"],"text":"hi"}`)
	b.publish("bulk", "", envelope("m149"))
	b.publish("bulk", "", envelope(`an id with "quotes"`))
	b.publish("bulk", "broken", `{"nonsense":`)
	for id, want := range map[string]string{
		"m0":                   "normal/1 in_flight 0;",
		"m2":                   "normal/3 waiting 0;",
		"m149":                 "bulk/2 waiting 1;normal/150 waiting 147;",
		"x149":                 "", // the envelope's id comes before the header's
		"by-header":            "bulk/1 waiting 0;",
		`an id with "quotes"`:  "bulk/3 waiting 2;",
		"broken":               "bulk/4 waiting 3;",
		"nothing of the kind,": "",
	} {
		read := 0
		found, err := b.Search(t.Context(), id, func() { read++ })
		b.must(err)
		got := ""
		for _, m := range found {
			got += fmt.Sprintf("%s/%d %s %d;", m.Key.Lane, m.Sequence, m.State, m.Before)
		}
		if n, err := b.Unsettled(t.Context()); err != nil || read != 154 || n != 154 {
			t.Errorf("read %d of %d messages, %v", read, n, err)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	m, err := b.Fresh(t.Context(), "normal", 150)
	b.must(err)
	if m.Key.ID != "m149" || m.Envelope == nil || m.Bad != nil {
		t.Errorf("%+v", m)
	}
	again, err := b.FreshByOrigin(t.Context(), m.Key.Origin)
	b.must(err)
	if again.Sequence != 150 || again.Key.Lane != lane {
		t.Errorf("%+v", again)
	}
	if broken, err := b.Fresh(t.Context(), "bulk", 4); err != nil || broken.Bad == nil {
		t.Errorf("%+v %v", broken, err)
	}
	b.must(taken[0].DoubleAck(t.Context()))
	if _, err := b.Fresh(t.Context(), lane, 1); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("one that is settled: %v", err)
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	at := time.Now().Add(time.Hour).UTC()
	b.later("one", at)
	b.later("two", at)
	for _, id := range []string{"one", keyOf("one").Origin} {
		found, err := b.Copies(t.Context(), id)
		b.must(err)
		if id != "one" { // both are of one origin here
			found = found[:1]
		}
		if len(found) != 1 || found[0].Key.ID != "one" || found[0].State != queue.Scheduled || !found[0].At.Equal(at) || found[0].Attempts != 1 || found[0].Envelope == nil {
			t.Errorf("%s: %+v", id, found)
		}
	}
	b.later("three", time.Now().Add(-time.Second))
	b.eventually("1", func(l queue.Lane) string { return fmt.Sprint(l.Due) })
	found, err := b.Copies(t.Context(), "three")
	b.must(err)
	if len(found) != 1 || found[0].State != queue.Due || found[0].Key != keyOf("three") {
		t.Errorf("%+v", found)
	}
}

package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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
	if _, err := p.Next(t.Context(), 3, 500, time.Second); !errors.Is(err, consumer.ErrNoMessage) {
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

// pulls hears what workers ask of the consumer of a source.
func pulls(b *bench.Bench, s wire.Source) <-chan string {
	b.T.Helper()
	heard := make(chan string, 1000)
	_, err := b.Conn.NC().Subscribe("$JS.API.CONSUMER.MSG.NEXT."+s.Stream+"."+s.Consumer, func(m *nats.Msg) { heard <- string(m.Data) })
	if err == nil {
		err = b.Conn.NC().Flush()
	}
	if err != nil {
		b.T.Fatal(err)
	}
	return heard
}

// TestBatchPulls: of many waiting messages, a pull brings as many as there are free
// slots.
func TestBatchPulls(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.Slots = 8
	begun, release := make(chan string, 100), make(chan struct{})
	b.Relay.Hold = func(m mail.Message) { begun <- m.ID; <-release }
	for i := range 100 {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
	}
	heard := pulls(b, bench.Lane.Sources()[0])
	b.Work(nil)
	for range 8 {
		<-begun
	}
	// The first message tells how many are behind it.
	if first, second := <-heard, <-heard; !strings.HasPrefix(first, `{"batch":1,`) || !strings.HasPrefix(second, `{"batch":7,`) {
		t.Errorf("pulls for 8 free slots: %s, %s", first, second)
	}
	if info := durable(b, bench.Lane.Sources()[0]); info.NumAckPending != 8 || info.NumWaiting != 0 {
		t.Errorf("no slot is free: %d messages are in flight, %d pulls wait", info.NumAckPending, info.NumWaiting)
	}
	close(release)
	b.Settled()
	for i := range 100 {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
	}
}

// TestIdlePulls: one pull of one message waits for each source, however many slots
// are free, and it needs none of them.
func TestIdlePulls(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	w := b.Worker(nil)
	c := b.Make(w)
	var heard []<-chan string
	for _, s := range bench.Lane.Sources() {
		heard = append(heard, pulls(b, s))
	}
	b.Run(c, nil)
	for i, s := range bench.Lane.Sources() {
		b.Eventually("a pull waits at "+s.Stream, func() bool { return durable(b, s).NumWaiting == 1 })
		if first := <-heard[i]; !strings.HasPrefix(first, `{"batch":1,`) || len(heard[i]) > 0 {
			t.Errorf("%s: pulls %s and %d more", s.Stream, first, len(heard[i]))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range b.Config.Slots {
		if err := c.Slot(ctx, bench.Lane); err != nil {
			t.Fatalf("%d slots of an idle worker are free", i)
		}
	}
	for range b.Config.Slots {
		c.FreeSlot(bench.Lane)
	}
}

// TestLargeGoesAlone: a message that is larger than the bytes that are left is
// fetched by a pull of its own, once nothing else is in flight.
func TestLargeGoesAlone(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.MaxBytes = 4000
	var mu sync.Mutex
	now, beside := map[string]bool{}, 0 // in transactions; beside the large one
	b.Relay.Hold = func(m mail.Message) {
		mu.Lock()
		now[m.ID] = true
		if now["large"] {
			beside = max(beside, len(now)-1)
		}
		mu.Unlock()
		time.Sleep(20 * time.Millisecond) // another one would show itself
		mu.Lock()
		delete(now, m.ID)
		mu.Unlock()
	}
	for i := range 6 {
		b.Publish(fmt.Sprint("small", i), "ann@example.net")
		if i == 2 {
			b.PublishWith("large", `,"html":"`+strings.Repeat("x", 6000)+`"`, "ann@example.net")
		}
	}
	heard := pulls(b, bench.Lane.Sources()[0])
	w := b.Worker(nil)
	w.Consumer.Interrupted = func(_ context.Context, _ wire.Source, err error) { t.Errorf("fetching was interrupted: %v", err) }
	b.Run(b.Make(w), nil)
	b.Settled()
	b.Accepted("large", map[string]int{"ann@example.net": 1})
	for i := range 6 {
		b.Accepted(fmt.Sprint("small", i), map[string]int{"ann@example.net": 1})
	}
	if beside > 0 {
		t.Errorf("%d messages were sent beside one that is larger than all may be", beside)
	}
	unbounded, bounded := 0, 0
	for len(heard) > 0 {
		switch pull := <-heard; {
		case !strings.HasSuffix(pull, `"max_bytes":0}`):
			bounded++
		case strings.HasPrefix(pull, `{"batch":1,`):
			unbounded++
		default:
			t.Errorf("a pull of several messages without a bound: %s", pull)
		}
	}
	if bounded == 0 || unbounded == 0 {
		t.Errorf("%d pulls with a bound, %d for one message", bounded, unbounded)
	}
}

// TestRestAfterWhatStays: while there is little room the worker pauses after a
// message that went on as a copy, and not after one that made room.
func TestRestAfterWhatStays(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Settle.RetryAfter = []time.Duration{time.Hour}
	var mu sync.Mutex
	var at []time.Time
	b.Relay.Hold = func(mail.Message) {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
	}
	for i, to := range []string{"ann@example.net", "450@example.net", "451@example.net", "bob@example.net", "cid@example.net"} {
		b.Publish(fmt.Sprint("m", i), to)
	}
	w := b.Worker(nil)
	w.Consumer.Room = scarce{}
	b.Run(b.Make(w), nil)
	b.Eventually("all are tried", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(at) == 5
	})
	for i, rests := range []bool{false, true, true, false} {
		gap := at[i+1].Sub(at[i])
		if rests && gap < scarcePause || !rests && gap >= scarcePause {
			t.Errorf("after message %d: %s, rests %v", i, gap, rests)
		}
	}
}

// scarce is a room that makes a worker pause for that long.
type scarce struct{}

const scarcePause = 3 * time.Second

func (scarce) Left() uint64                        { return consumer.LeftFor(scarcePause) }
func (scarce) Watch(context.Context)               {}
func (scarce) Narrow(bool) (bool, <-chan struct{}) { return true, nil }

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
// their way to the relay; with room again they are.
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

// narrowing is a room that turns narrow for fresh mail at a moment of the test's,
// and wide again.
type narrowing struct {
	mu     sync.Mutex
	asked  int // about fresh mail
	after  int // narrow once it was asked more often than this
	wide   bool
	turned chan struct{}
}

func (*narrowing) Left() uint64          { return 1 << 40 }
func (*narrowing) Watch(context.Context) {}

func (r *narrowing) Narrow(fresh bool) (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !fresh {
		return false, r.turned
	}
	r.asked++
	return r.asked > r.after && !r.wide, r.turned
}

func (r *narrowing) widen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wide = true
	close(r.turned)
}

// turning is a worker with four slots. Its store turns nearly full between a pull
// of three messages and their arrival, while another one is at the relay.
func turning(t *testing.T) (b *bench.Bench, c *consumer.Consumer, room *narrowing, begun chan string, release func()) {
	t.Helper()
	b, c, room, begun, release, _ = turningWith(t)
	return b, c, room, begun, release
}

// turningWith also says how many messages were fetched: the pull may be over before the last
// one has come.
func turningWith(t *testing.T) (b *bench.Bench, c *consumer.Consumer, room *narrowing, begun chan string, release func(), fetched int) {
	t.Helper()
	b = bench.New(t)
	begun = make(chan string, 10)
	held := make(chan struct{})
	release = sync.OnceFunc(func() { close(held) })
	b.Relay.Hold = func(m mail.Message) { begun <- m.ID; <-held }
	for i := range 4 {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
	}
	// It is asked before the first message, when that comes, and before the others.
	room = &narrowing{after: 3, turned: make(chan struct{})}
	w := b.Worker(nil)
	w.Consumer.Room = room
	c = b.Make(w)
	b.Run(c, nil)
	t.Cleanup(release) // before the worker is stopped
	if id := <-begun; id != "m0" {
		t.Fatalf("%s was first", id)
	}
	b.Eventually("more are fetched", func() bool {
		d := durable(b, bench.Lane.Sources()[0])
		fetched = d.NumAckPending
		return fetched > 1 && d.NumWaiting == 0
	})
	return b, c, room, begun, release, fetched
}

// TestTurnNeedsNoSlot: messages that wait for their turn hold no slots, because due
// mail needs them to make room.
func TestTurnNeedsNoSlot(t *testing.T) {
	t.Parallel()
	b, c, _, _, release := turning(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range b.Config.Slots - 1 {
		if err := c.Slot(ctx, bench.Lane); err != nil {
			t.Fatalf("%d slots are free, want all but the one in use: %v", i, err)
		}
	}
	for range b.Config.Slots - 1 {
		c.FreeSlot(bench.Lane)
	}
	release()
	b.Settled()
}

// TestTurnKeepsTheLease: the leases of messages that wait for their turn are
// renewed, so that no other worker gets them, and none of them is sent beside a
// message of an earlier pull.
func TestTurnKeepsTheLease(t *testing.T) {
	t.Parallel()
	b, _, _, begun, release, fetched := turningWith(t)
	p, err := b.Make(b.Worker(nil)).NewPuller(bench.Lane.Sources()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for {
		m, err := p.Next(t.Context(), 1, 0, 3*b.Config.AckWait)
		if errors.Is(err, consumer.ErrNoMessage) {
			break
		}
		var body struct{ ID string }
		if err != nil || json.Unmarshal(m.Data, &body) != nil || body.ID < fmt.Sprint("m", fetched) {
			t.Fatalf("another worker got %v, %v", m, err)
		}
		if err := m.Respond([]byte("+ACK")); err != nil { // nobody had it
			t.Fatal(err)
		}
	}
	if n := len(begun); n > 0 {
		t.Errorf("%d messages are sent beside the first one", n)
	}
	release()
	b.Settled()
	for i := range fetched {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
	}
}

// TestTurnEndsWithRoom: once there is room again, messages that wait for their turn
// are sent at once, whatever the relay still does with an earlier one.
func TestTurnEndsWithRoom(t *testing.T) {
	t.Parallel()
	b, _, room, begun, release, fetched := turningWith(t)
	room.widen()
	for range fetched - 1 {
		select {
		case <-begun:
		case <-time.After(10 * time.Second):
			t.Fatal("it still waits for the one at the relay")
		}
	}
	release()
	b.Settled()
}

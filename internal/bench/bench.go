package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Lane is the lane of the tests.
const Lane wire.Lane = "normal"

// Bench is a broker, a relay and the workers of a test.
type Bench struct {
	T      *testing.T
	Broker *natstest.Broker // nil on a cluster
	Dial   func(t testing.TB, role broker.Role) *broker.Conn
	Conn   *broker.Conn
	Relay  *Relay
	Refuse Refuser
	Store  *stream.Store
	Graves *deadletter.Queue
	// Config and Settle are those of the workers that are made from now on.
	Config consumer.Config
	Settle settle.Config
}

// running bounds the benches at work at once: each has a broker that syncs every
// write, and leases are short here.
var running = make(chan struct{}, 3)

// Reserve waits until another bench may work.
func Reserve(t *testing.T) {
	t.Helper()
	running <- struct{}{}
	t.Cleanup(func() { <-running })
}

// New is a bench with a broker of its own.
func New(t *testing.T) *Bench {
	t.Helper()
	return With(t, 2*time.Second)
}

// With is one with that AckWait: for messages that take a while.
func With(t *testing.T, ackWait time.Duration) *Bench {
	t.Helper()
	Reserve(t)
	n := natstest.StartWith(t, natstest.Options{AckWait: ackWait}, Lane)
	b := On(t, n.Connect)
	b.Broker, b.Conn = n, n.Conn
	b.Config.AckWait = ackWait
	return b
}

// On is a bench at a broker that is dialed.
func On(t *testing.T, dial func(testing.TB, broker.Role) *broker.Conn) *Bench {
	t.Helper()
	b := &Bench{T: t, Relay: NewRelay(), Config: consumer.DefaultConfig(), Settle: settle.DefaultConfig(), Dial: dial}
	b.Conn = dial(t, broker.Worker)
	b.Store = b.Conn.Store()
	b.Graves = deadletter.New(b.Store, journal.New(b.Store), b.Conn.Now)
	b.Config.Lanes = wire.Lanes{{Lane: Lane, Weight: 1}}
	b.Config.AckWait = 2 * time.Second
	b.Config.Slots = 4
	b.Config.SweepInterval = time.Second
	b.Config.Drain = 2 * time.Second
	b.Settle.RetryAfter = []time.Duration{200 * time.Millisecond}
	b.Settle.PauseMin, b.Settle.PauseMax = 50*time.Millisecond, 100*time.Millisecond
	return b
}

// Worker is what a worker is made of. Make turns it into one.
type Worker struct {
	Conn     *broker.Conn
	Settle   settle.Parts
	Consumer consumer.Parts
	Registry *prometheus.Registry
}

// Worker has the parts of a worker with a connection of its own. It dies as d says; nil
// for never.
func (b *Bench) Worker(d *Death) *Worker {
	b.T.Helper()
	conn := b.Dial(b.T, broker.Worker)
	if d != nil {
		d.conn, d.dead = conn, make(chan struct{})
	}
	level := slog.LevelError
	if os.Getenv("POSTRIDER_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(b.T.Output(), &slog.HandlerOptions{Level: level}))
	store := conn.Store()
	j := journal.New(store)
	gate := &consumer.Gate{Relay: b.Relay, Link: conn}
	w := &Worker{Conn: conn, Registry: prometheus.NewRegistry()}
	w.Settle = settle.Parts{
		Relay: mortalRelay{b.Relay, d}, Journal: mortalJournal{j, d, &b.Refuse}, Store: mortalStore{store, d, &b.Refuse},
		DeadLetters: mortalDead{deadletter.New(store, j, conn.Now), d},
		Now:         conn.Now, Full: gate.Full, Log: log, Metrics: w.Registry,
	}
	w.Consumer = consumer.Parts{
		NATS: conn.NC(), Link: conn, Durable: conn.Consumer, Store: store, Now: conn.Now, Room: broker.NewFill(b.T.Context(), conn.Room, log), Gate: gate, Log: log,
		Interrupted: func(_ context.Context, s wire.Source, err error) {
			log.Warn("fetching was interrupted", "stream", s.Stream, "error", err)
		}, Metrics: w.Registry,
	}
	return w
}

// Settler makes what settles deliveries.
func (b *Bench) Settler(w *Worker) *settle.Settler {
	return settle.New(b.Settle, b.Config.Lanes.Names(), w.Settle)
}

// Make makes the worker.
func (b *Bench) Make(w *Worker) *consumer.Consumer {
	w.Consumer.Settler = b.Settler(w)
	return consumer.New(b.Config, w.Consumer)
}

// Work runs a worker until the test ends or stop is called.
func (b *Bench) Work(d *Death) (stop func()) {
	b.T.Helper()
	return b.Run(b.Make(b.Worker(d)), d)
}

// RelayAt is what a relay does for a worker: it delivers, and says whether it is up.
type RelayAt interface {
	settle.Relay
	consumer.Relay
}

// WorkAt runs a worker with that relay.
func (b *Bench) WorkAt(r RelayAt) (stop func()) {
	b.T.Helper()
	w := b.Worker(nil)
	w.Settle.Relay, w.Consumer.Gate.Relay = r, r
	return b.Run(b.Make(w), nil)
}

// Run runs a worker until the test ends or stop is called.
func (b *Bench) Run(c *consumer.Consumer, d *Death) (stop func()) {
	b.T.Helper()
	ctx, cancel := context.WithCancel(b.T.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil && d == nil {
			b.T.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.T.Cleanup(stop)
	return stop
}

// Publish publishes an envelope.
func (b *Bench) Publish(id string, to ...string) {
	b.T.Helper()
	b.PublishWith(id, "", to...)
}

// PublishWith publishes an envelope with more fields.
func (b *Bench) PublishWith(id, more string, to ...string) {
	b.T.Helper()
	body := fmt.Sprintf(`{"id":%q,"from":"a@example.com","to":["%s"],"text":"hi"%s}`, id, strings.Join(to, `","`), more)
	if _, err := b.Conn.JS().Publish(b.T.Context(), Lane.SendSubject(), []byte(body)); err != nil {
		b.T.Fatal(err)
	}
}

// PublishUntilStored publishes through elections, under an id of its own.
func (b *Bench) PublishUntilStored(id string, to ...string) {
	b.T.Helper()
	body := fmt.Appendf(nil, `{"id":%q,"from":"a@example.com","to":["%s"],"text":"hi"}`, id, strings.Join(to, `","`))
	b.Eventually("the mail is stored", func() bool {
		_, err := b.Conn.JS().Publish(b.T.Context(), Lane.SendSubject(), body, jetstream.WithMsgID(id))
		return err == nil
	})
}

// Eventually waits until the condition holds. If it does not, the test fails with what
// state says, and with the state of the consumers.
func (b *Bench) Eventually(what string, cond func() bool, state ...func() string) {
	b.T.Helper()
	// Three minutes are for a machine that has other things to do.
	testrun.Eventually(b.T, what, 3*time.Minute, cond, append(state, b.state)...)
}

// Queued is how many messages the lane has: fresh, scheduled and due.
func (b *Bench) Queued() uint64 {
	var n uint64
	for _, s := range Lane.Sources() {
		b.Eventually("stream "+s.Stream+" answers, perhaps after an election", func() bool {
			info, err := b.Conn.JS().Stream(b.T.Context(), s.Stream)
			if err == nil {
				n += info.CachedInfo().State.Msgs
			}
			return err == nil
		})
	}
	return n
}

// state is that of the consumers and of all goroutines.
func (b *Bench) state() string {
	var s strings.Builder
	for _, q := range Lane.Sources() {
		c, err := b.Conn.JS().Consumer(context.Background(), q.Stream, q.Consumer)
		if err != nil {
			fmt.Fprintln(&s, q.Stream, err)
			continue
		}
		i := c.CachedInfo()
		fmt.Fprintf(&s, "%s: delivered %d, floor %d, unacked %d, again %d, pending %d, pulls %d\n",
			q.Stream, i.Delivered.Stream, i.AckFloor.Stream, i.NumAckPending, i.NumRedelivered, i.NumPending, i.NumWaiting)
	}
	_ = pprof.Lookup("goroutine").WriteTo(&s, 1)
	return s.String()
}

// Settled waits until the lane is empty.
func (b *Bench) Settled() {
	b.T.Helper()
	b.Eventually("the queue is empty", func() bool { return b.Queued() == 0 })
}

// Take takes the next message of a source, at the connection that finds its consumer.
func (b *Bench) Take(durable func(ctx context.Context, stream, name string) (jetstream.Consumer, error), s wire.Source) (jetstream.Msg, *jetstream.MsgMetadata) {
	b.T.Helper()
	q, err := durable(b.T.Context(), s.Stream, s.Consumer)
	if err != nil {
		b.T.Fatal(err)
	}
	m, err := q.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		b.T.Fatal(err)
	}
	meta, err := m.Metadata()
	if err != nil {
		b.T.Fatal(err)
	}
	return m, meta
}

// Exhaust uses up the deliveries of all fresh messages that can be delivered.
func (b *Bench) Exhaust() {
	b.T.Helper()
	q, err := b.Conn.Consumer(b.T.Context(), Lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		b.T.Fatal(err)
	}
	for {
		m, err := q.Next(jetstream.FetchMaxWait(300 * time.Millisecond))
		if err != nil {
			return
		}
		if err := m.Nak(); err != nil {
			b.T.Fatal(err)
		}
	}
}

// Dead are the dead letters.
func (b *Bench) Dead() (all []*deadletter.Found) {
	b.T.Helper()
	b.Eventually("the dead letters can be read", func() bool {
		all = nil
		for l, err := range b.Graves.All(b.T.Context(), deadletter.Filter{}) {
			if errors.Is(err, stream.ErrAway) {
				return false
			}
			if err != nil {
				b.T.Fatal(err)
			}
			all = append(all, l)
		}
		return true
	})
	return all
}

// Accepted checks how often the relay accepted the message for each address.
func (b *Bench) Accepted(id string, want map[string]int) {
	b.T.Helper()
	accepted := b.Relay.Accepted()
	for addr, n := range want {
		if got := accepted[id+" "+addr]; got != n {
			b.T.Errorf("%s was accepted for %s %d times, want %d; told %v", id, addr, got, n, b.Relay.Told(id+" "+addr))
		}
	}
}

// Counted is the sum of a worker's counter, by its name without "postrider_".
func (w *Worker) Counted(t *testing.T, name string) (sum float64) {
	t.Helper()
	all, err := w.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "postrider_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

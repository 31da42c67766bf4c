package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const lane wire.Lane = "normal"

// books is a relay that keeps books: what each address was told, in order.
// Its answers go by the address: "451x2@…" is deferred twice, "550@…" fails,
// "421@…" is the relay's fault, "lost@…" gets no reply after the dot.
type books struct {
	mu       sync.Mutex
	told     map[string][]mail.Class
	accepted map[string]int
	down     bool
	// words, where set, are what the relay says on acceptance.
	words func(address string) string
	// hold, where set, is called in each transaction before the answer.
	hold func(m mail.Message)
}

func newBooks() *books { return &books{told: map[string][]mail.Class{}, accepted: map[string]int{}} }

func (b *books) Up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.down
}

func (b *books) Wait(ctx context.Context) error {
	for !b.Up() {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (b *books) Deliver(ctx context.Context, m mail.Message) mail.Transaction {
	if b.hold != nil {
		b.hold(m)
	}
	tx := mail.Transaction{At: time.Now(), Relay: "books", Session: "1"}
	if body, err := m.Body.Open(); err == nil {
		_, _ = io.Copy(io.Discard, body)
		_ = body.Close()
	}
	refused := ctx.Err()
	if m.Permit != nil && refused == nil {
		refused = m.Permit()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		refused = errors.New("waiting for the relay")
	}
	for _, r := range m.Recipients {
		if refused != nil { // the relay heard nothing, and counts nothing
			tx.Outcomes = append(tx.Outcomes, mail.Outcome{Class: mail.Requeued, Stage: mail.StageLocal, Reply: refused.Error()})
			continue
		}
		o := b.answer(r.Address)
		key := m.ID + " " + r.Address
		b.told[key] = append(b.told[key], o.Class)
		if o.Class == mail.Delivered || o.Class == mail.Uncertain {
			b.accepted[key]++
		}
		tx.Outcomes = append(tx.Outcomes, o)
	}
	return tx
}

// answer is decided by how often the address was answered before. b.mu is held.
func (b *books) answer(addr string) mail.Outcome {
	local, _, _ := strings.Cut(addr, "@")
	before := 0
	for key, told := range b.told {
		if strings.HasSuffix(key, " "+addr) {
			before += len(told)
		}
	}
	var code, times int
	n, _ := fmt.Sscanf(local, "%dx%d", &code, &times)
	switch {
	case local == "lost" && before == 0:
		return mail.Outcome{Class: mail.Uncertain, Stage: mail.StageDot, Reply: "no reply"}
	case n == 0 && b.words != nil:
		return mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Reply: b.words(addr)}
	case n == 0, n == 2 && before >= times:
		return mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Enhanced: "2.0.0", Reply: "queued as Q1", QueueID: "Q1"}
	case code == 421:
		return mail.Outcome{Class: mail.Requeued, Stage: mail.StageRcpt, Code: 421, Enhanced: "4.3.0", Reply: "come back"}
	case code >= 500:
		return mail.Outcome{Class: mail.Failed, Stage: mail.StageRcpt, Code: code, Enhanced: "5.1.1", Reply: "no such user"}
	}
	return mail.Outcome{Class: mail.Deferred, Stage: mail.StageRcpt, Code: code, Enhanced: "4.2.0", Reply: "later"}
}

// death ends a worker at a point of its way: its connection is cut, and from
// then on nothing it does comes through.
type death struct {
	at   string
	nth  int
	conn *broker.Conn
	dead chan struct{}
	mu   sync.Mutex
	seen int
}

func (d *death) pass(point string) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isDead() {
		return stream.ErrAway
	}
	if point != d.at {
		return nil
	}
	if d.seen++; d.seen <= d.nth {
		return nil
	}
	close(d.dead)
	d.conn.NC().Close()
	return stream.ErrAway
}

func (d *death) isDead() bool {
	select {
	case <-d.dead:
		return true
	default:
		return false
	}
}

// mortal is the parts of a worker that dies at a point.
type mortal struct {
	*death
	*stream.Store
	*journal.Journal
	*deadletter.Queue
	*books
	*refuser
}

// refuser is a broker that refuses some writes: copies by their subject,
// records by "record".
type refuser struct {
	mu     sync.Mutex
	refuse func(what string) error
}

func (r *refuser) set(refuse func(what string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

func (r *refuser) ask(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse == nil {
		return nil
	}
	return r.refuse(what)
}

// times refuses the first n writes that fit.
func times(n int, what string, err error) func(string) error {
	return func(w string) error {
		if n == 0 || !strings.HasPrefix(w, what) {
			return nil
		}
		n--
		return err
	}
}

func (m mortal) Deliver(ctx context.Context, msg mail.Message) mail.Transaction {
	tx := m.books.Deliver(ctx, msg)
	if m.pass("attempted") != nil {
		<-ctx.Done()
	}
	return tx
}

func (m mortal) Lookup(ctx context.Context, l wire.Key) (*wire.Record, uint64, error) {
	if err := m.pass("look"); err != nil {
		return nil, 0, err
	}
	return m.Journal.Lookup(ctx, l)
}

// Set is the journal's.
func (m mortal) Set(ctx context.Context, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if err := m.pass("record"); err != nil {
		return 0, err
	}
	if err := m.ask("record"); err != nil {
		return 0, err
	}
	seq, err := m.Journal.Set(ctx, r, expected, brief)
	if perr := m.pass("recorded"); perr != nil {
		return 0, perr
	}
	return seq, err
}

func (m mortal) Put(ctx context.Context, msg *nats.Msg, filter string, expected uint64, generation int) (uint64, bool, error) {
	if err := m.ask(msg.Subject); err != nil {
		return 0, false, err
	}
	seq, already, err := m.Store.Put(ctx, msg, filter, expected, generation)
	if perr := m.pass("carried"); perr != nil {
		return 0, false, perr
	}
	return seq, already, err
}

func (m mortal) Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error) {
	seq, err := m.Queue.Bury(ctx, l)
	if perr := m.pass("carried"); perr != nil {
		return 0, perr
	}
	return seq, err
}

// mortalStore is a mortal's store, whose Set is not the journal's.
type mortalStore struct{ mortal }

func (m mortalStore) Set(ctx context.Context, msg *nats.Msg, filter string, expected uint64) (uint64, error) {
	if err := m.pass("set"); err != nil {
		return 0, err
	}
	seq, err := m.Store.Set(ctx, msg, filter, expected)
	// A replay puts its copy by Set.
	if strings.HasPrefix(msg.Subject, "mail.copy.") {
		if perr := m.pass("carried"); perr != nil {
			return 0, perr
		}
	}
	return seq, err
}

func (m mortal) Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error) {
	return m.Store.Next(ctx, stream, subject, seq, since)
}

// bench is a broker, a relay and the workers of a test.
type bench struct {
	t      *testing.T
	broker *natstest.Broker // nil on a cluster
	dial   func(t testing.TB, role broker.Role) *broker.Conn
	conn   *broker.Conn
	books  *books
	refuse refuser
	store  *stream.Store
	yard   *deadletter.Queue
	cfg    Config
}

// running bounds the benches at work at once: each has a broker that syncs
// every write, and leases are short here.
var running = make(chan struct{}, 3)

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchWith(t, 2*time.Second)
}

// newBenchWith is one with that AckWait: for messages that take a while.
func newBenchWith(t *testing.T, ackWait time.Duration) *bench {
	t.Helper()
	running <- struct{}{}
	t.Cleanup(func() { <-running })
	n := natstest.StartWith(t, natstest.Options{AckWait: ackWait}, lane)
	b := benchOn(t, n.Connect)
	b.broker, b.conn = n, n.Conn
	b.cfg.AckWait = ackWait
	return b
}

func benchOn(t *testing.T, dial func(testing.TB, broker.Role) *broker.Conn) *bench {
	t.Helper()
	b := &bench{t: t, books: newBooks(), cfg: DefaultConfig(), dial: dial}
	b.conn = dial(t, broker.Worker)
	b.store = b.conn.Store()
	b.yard = deadletter.New(b.store, journal.New(b.store), b.conn.Now)
	b.cfg.Lanes = Lanes{{lane, 1}}
	b.cfg.AckWait = 2 * time.Second
	b.cfg.Slots = 4
	b.cfg.RetryAfter = Durations{200 * time.Millisecond}
	b.cfg.PauseMin, b.cfg.PauseMax = 50*time.Millisecond, 100*time.Millisecond
	b.cfg.SweepInterval = time.Second
	b.cfg.Drain = 2 * time.Second
	return b
}

// parts are those of a worker with a connection of its own.
func (b *bench) parts(d *death) (Parts, *broker.Conn) {
	conn := b.dial(b.t, broker.Worker)
	if d != nil {
		d.conn, d.dead = conn, make(chan struct{})
	}
	store := conn.Store()
	j := journal.New(store)
	m := mortal{death: d, Store: store, Journal: j, Queue: deadletter.New(store, j, conn.Now), books: b.books, refuser: &b.refuse}
	level := slog.LevelError
	if os.Getenv("TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return Parts{
		NATS: conn.NC(), Durable: conn.Consumer, Link: conn, Now: conn.Now, Room: conn.Room,
		Store: m, Journal: m, DeadLetters: m, Relay: m,
		Log: slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: level})),
	}, conn
}

// work runs a worker until the test ends or stop is called.
func (b *bench) work(d *death) (stop func()) {
	b.t.Helper()
	parts, _ := b.parts(d)
	return b.run(parts, d)
}

// workAt runs a worker with that relay.
func (b *bench) workAt(r Relay) (stop func()) {
	b.t.Helper()
	parts, _ := b.parts(nil)
	parts.Relay = r
	return b.run(parts, nil)
}

func (b *bench) run(parts Parts, d *death) (stop func()) {
	b.t.Helper()
	return b.runThis(New(b.cfg, parts), d)
}

func (b *bench) runThis(c *Consumer, d *death) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil && d == nil {
			b.t.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) publish(id string, to ...string) {
	b.t.Helper()
	b.publishWith(id, "", to...)
}

func (b *bench) publishWith(id, more string, to ...string) {
	b.t.Helper()
	body := fmt.Sprintf(`{"id":%q,"from":"a@example.com","to":["%s"],"text":"hi"%s}`, id, strings.Join(to, `","`), more)
	if _, err := b.conn.Publish(b.t.Context(), lane, "", nil, []byte(body)); err != nil {
		b.t.Fatal(err)
	}
}

// publishUntilStored publishes through elections, under an id of its own.
func (b *bench) publishUntilStored(id string, to ...string) {
	b.t.Helper()
	body := fmt.Appendf(nil, `{"id":%q,"from":"a@example.com","to":["%s"],"text":"hi"}`, id, strings.Join(to, `","`))
	b.eventually("the mail is stored", func() bool {
		_, err := b.conn.Publish(b.t.Context(), lane, id, nil, body)
		return err == nil
	})
}

// eventually waits until the condition holds.
func (b *bench) eventually(what string, cond func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(3 * time.Minute) // on a machine that has other things to do
	for !cond() {
		if time.Now().After(deadline) {
			b.t.Fatalf("in vain: %s\n%s", what, b.state())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// queued is what lies in the lane: fresh, scheduled and due.
func (b *bench) queued() uint64 {
	var n uint64
	for _, name := range []string{lane.SendStream(), lane.LaterStream()} {
		b.eventually("stream "+name+" answers, perhaps after an election", func() bool {
			s, err := b.conn.JS().Stream(b.t.Context(), name)
			if err == nil {
				n += s.CachedInfo().State.Msgs
			}
			return err == nil
		})
	}
	return n
}

// state is how the broker stands, and what everybody is waiting for.
func (b *bench) state() string {
	var s strings.Builder
	for _, q := range [][2]string{{lane.SendStream(), wire.ConsumerFresh}, {lane.LaterStream(), wire.ConsumerDue}} {
		c, err := b.conn.JS().Consumer(context.Background(), q[0], q[1])
		if err != nil {
			fmt.Fprintln(&s, q[0], err)
			continue
		}
		i := c.CachedInfo()
		fmt.Fprintf(&s, "%s: delivered %d, floor %d, unacked %d, again %d, pending %d, pulls %d\n",
			q[0], i.Delivered.Stream, i.AckFloor.Stream, i.NumAckPending, i.NumRedelivered, i.NumPending, i.NumWaiting)
	}
	_ = pprof.Lookup("goroutine").WriteTo(&s, 1)
	return s.String()
}

func (b *bench) setDown(down bool) {
	b.books.mu.Lock()
	defer b.books.mu.Unlock()
	b.books.down = down
}

func (b *bench) settled() {
	b.t.Helper()
	b.eventually("the queue is empty", func() bool { return b.queued() == 0 })
}

func (b *bench) dead() (all []*deadletter.Found) {
	b.t.Helper()
	b.eventually("the dead letters can be read", func() bool {
		all = nil
		for l, err := range b.yard.All(b.t.Context(), deadletter.Filter{}) {
			if errors.Is(err, stream.ErrAway) {
				return false
			}
			if err != nil {
				b.t.Fatal(err)
			}
			all = append(all, l)
		}
		return true
	})
	return all
}

// accepted checks how often the relay accepted the message for each address.
func (b *bench) accepted(id string, want map[string]int) {
	b.t.Helper()
	b.books.mu.Lock()
	defer b.books.mu.Unlock()
	for addr, n := range want {
		if got := b.books.accepted[id+" "+addr]; got != n {
			b.t.Errorf("%s was accepted for %s %d times, want %d; told %v", id, addr, got, n, b.books.told[id+" "+addr])
		}
	}
}

func newDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Death ends a worker at a point of its way: its connection is cut, and from then
// on nothing that it does comes through. The points are lookup, attempted, record,
// recorded and forwarded; for an operator's program also set, before each write that
// is not a record, and write, before every write.
type Death struct {
	At string
	// Nth is how often the point is passed before.
	Nth  int
	conn *broker.Conn
	dead chan struct{}
	mu   sync.Mutex
	seen int
}

// ErrDead is what a dead worker gets. It is no answer that stays away: nothing is
// tried again.
var ErrDead = errors.New("the worker has died")

// pass passes a point, which may have a second name.
func (d *Death) pass(names ...string) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.IsDead() {
		return ErrDead
	}
	if !slices.Contains(names, d.At) {
		return nil
	}
	if d.seen++; d.seen <= d.Nth {
		return nil
	}
	close(d.dead)
	d.conn.NC().Close()
	return ErrDead
}

// IsDead reports that the worker has died.
func (d *Death) IsDead() bool {
	select {
	case <-d.dead:
		return true
	default:
		return false
	}
}

// Refuser is a broker that refuses some writes: copies by their subject, records by
// "record".
type Refuser struct {
	mu     sync.Mutex
	refuse func(what string) error
}

// Set says which writes are refused, and why.
func (r *Refuser) Set(refuse func(what string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

func (r *Refuser) ask(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse == nil {
		return nil
	}
	return r.refuse(what)
}

// Times refuses the first n writes that begin with what; all for a negative n.
func Times(n int, what string, err error) func(string) error {
	return func(w string) error {
		if n == 0 || !strings.HasPrefix(w, what) {
			return nil
		}
		n--
		return err
	}
}

// These are the parts of a worker that dies at a point.
type (
	mortalRelay struct {
		settle.Relay
		*Death
	}
	mortalJournal struct {
		settle.Journal
		*Death
		*Refuser
	}
	mortalStore struct {
		settle.Store
		*Death
		*Refuser
	}
	mortalDead struct {
		settle.DeadLetters
		*Death
	}
)

func (m mortalRelay) Deliver(ctx context.Context, msg mail.Message) mail.Transaction {
	tx := m.Relay.Deliver(ctx, msg)
	if m.pass("attempted") != nil {
		<-ctx.Done()
	}
	return tx
}

func (m mortalJournal) Lookup(ctx context.Context, k wire.Key) (*wire.Record, uint64, error) {
	if err := m.pass("lookup"); err != nil {
		return nil, 0, err
	}
	return m.Journal.Lookup(ctx, k)
}

func (m mortalJournal) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if err := m.pass("record"); err != nil {
		return 0, err
	}
	if err := m.ask("record"); err != nil {
		return 0, err
	}
	seq, err := m.Journal.Set(ctx, k, r, expected, brief)
	if perr := m.pass("recorded"); perr != nil {
		return 0, perr
	}
	return seq, err
}

func (m mortalStore) Put(ctx context.Context, msg *nats.Msg, filter string, expected uint64, generation int) (uint64, bool, error) {
	if err := m.ask(msg.Subject); err != nil {
		return 0, false, err
	}
	seq, already, err := m.Store.Put(ctx, msg, filter, expected, generation)
	if perr := m.pass("forwarded"); perr != nil {
		return 0, false, perr
	}
	return seq, already, err
}

func (m mortalStore) Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error) {
	if err := m.pass("next"); err != nil {
		return nil, err
	}
	return m.Store.Next(ctx, stream, subject, seq, since)
}

func (m mortalStore) Delete(ctx context.Context, stream string, seq uint64) error {
	if err := m.pass("delete"); err != nil {
		return err
	}
	return m.Store.Delete(ctx, stream, seq)
}

func (m mortalDead) Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error) {
	seq, err := m.DeadLetters.Bury(ctx, l)
	if perr := m.pass("forwarded"); perr != nil {
		return 0, perr
	}
	return seq, err
}

// mortalStreams are the streams as an operator's program has them.
type mortalStreams struct {
	*stream.Store
	*Death
}

func (m mortalStreams) Set(ctx context.Context, msg *nats.Msg, filter string, expected uint64) (uint64, error) {
	before, after := "set", ""
	switch {
	case strings.HasPrefix(msg.Subject, "mail.record."):
		before, after = "record", "recorded"
	case strings.HasPrefix(msg.Subject, "mail.copy."):
		after = "forwarded"
	}
	if err := m.pass(before, "write"); err != nil {
		return 0, err
	}
	seq, err := m.Store.Set(ctx, msg, filter, expected)
	if after != "" {
		if perr := m.pass(after); perr != nil {
			return 0, perr
		}
	}
	return seq, err
}

// Replayer is an operator's program that dies as d says.
func (b *Bench) Replayer(d *Death) *deadletter.Queue {
	b.T.Helper()
	w := b.Worker(d)
	s := mortalStreams{w.Conn.Store(), d}
	return deadletter.New(s, journal.New(s), w.Conn.Now)
}

package settle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// batches is a store whose batches a test can spoil.
type batches struct {
	*stream.Store

	n     atomic.Int64
	spoil func(write func() (uint64, error)) (uint64, error)
}

func (s *batches) Batch(ctx context.Context, writes []stream.Write) (uint64, error) {
	write := func() (uint64, error) { return s.Store.Batch(ctx, writes) }
	if s.n.Add(1) == 1 && s.spoil != nil {
		return s.spoil(write)
	}
	return write()
}

// meet is a relay hold that lets n transactions go on at the same time. It is used once.
func meet(n int) func(mail.Message) {
	var arrived sync.WaitGroup
	arrived.Add(n)
	return func(mail.Message) {
		arrived.Done()
		arrived.Wait()
	}
}

// TestRecordsTogether: what many deliveries have to record at the same time is written in
// batches. Whatever becomes of a batch, each message is sent once and has its record.
func TestRecordsTogether(t *testing.T) {
	t.Parallel()
	const n = 24
	lost := fmt.Errorf("%w: its answer was lost", stream.ErrAway)
	for name, spoil := range map[string]func(func() (uint64, error)) (uint64, error){
		"stored":  nil,
		"refused": func(func() (uint64, error)) (uint64, error) { return 0, fmt.Errorf("%w: too many", stream.ErrBatch) },
		"answer lost": func(write func() (uint64, error)) (uint64, error) {
			_, err := write()
			return 0, errors.Join(err, lost)
		},
		"never arrived": func(func() (uint64, error)) (uint64, error) { return 0, lost },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, w, s := together(t, spoil)
			all := b.pullAll(w, n)
			b.Relay.Hold = meet(n)
			b.settleAll(w, all)
			b.Settled()
			for i, d := range all {
				b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
				if rec := b.record(d.Key()); rec == nil || !rec.DeliveredTo(0) || len(rec.Attempts) != 1 {
					t.Errorf("m%d: record %+v", i, rec)
				}
			}
			if s.n.Load() == 0 {
				t.Error("no batch was written")
			}
		})
	}
}

// together is a worker whose batches of records can be spoiled.
func together(t *testing.T, spoil func(func() (uint64, error)) (uint64, error)) (*bench, *worker, *batches) {
	t.Helper()
	b := newBench(t)
	w := b.idle()
	s := &batches{Store: w.Conn.Store(), spoil: spoil}
	w.Journal = journal.New(s)
	return b, w, s
}

// pullAll publishes n mails, m0 and so on, and takes them.
func (b *bench) pullAll(w *worker, n int) (all []*settle.Delivery) {
	b.T.Helper()
	for i := range n {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
		all = append(all, b.pullFresh(w))
	}
	return all
}

// settleAll settles all of them at the same time.
func (b *bench) settleAll(w *worker, all []*settle.Delivery) {
	b.T.Helper()
	var done sync.WaitGroup
	for _, d := range all {
		done.Go(func() {
			if err := w.settle(b.T.Context(), d); err != nil && !errors.Is(err, settle.ErrLeft) {
				b.T.Error(err)
			}
		})
	}
	done.Wait()
}

// holding is a store whose first single write waits until hold is closed, and that knows
// what came in batches.
type holding struct {
	*stream.Store

	once       sync.Once
	held, hold chan struct{}
	mu         sync.Mutex
	batched    []string // subjects
}

func (s *holding) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	s.once.Do(func() {
		close(s.held)
		<-s.hold
	})
	return s.Store.Set(ctx, m, filter, expected)
}

func (s *holding) Batch(ctx context.Context, writes []stream.Write) (uint64, error) {
	s.mu.Lock()
	for _, w := range writes {
		s.batched = append(s.batched, w.Msg.Subject)
	}
	s.mu.Unlock()
	return s.Store.Batch(ctx, writes)
}

// TestExpiredInABatch: some leases expire while their records wait for a batch. Such a record
// is not in the batch, but written after its message was found in its stream. One message is
// gone, because another worker settled it: nothing is written.
func TestExpiredInABatch(t *testing.T) {
	t.Parallel()
	const n, gone = 24, 7
	b := newBench(t)
	w := b.idle()
	s := &holding{Store: w.Conn.Store(), held: make(chan struct{}), hold: make(chan struct{})}
	w.Journal = journal.New(s)
	all := b.pullAll(w, n)
	late := all[3 : gone+1]
	b.Relay.Hold = func(m mail.Message) {
		if m.ID != "m0" {
			<-s.held // the others wait behind its record
		}
	}
	go func() {
		defer close(s.hold)
		b.Eventually("the relay has accepted all", func() bool { return len(b.Relay.Accepted()) == n })
		other := b.idle()
		other.Relay = wb.NewRelay()
		again := twin(all[gone])
		again.Times = 2
		if err := other.settle(t.Context(), again); err != nil {
			t.Error(err)
		}
		for _, d := range late {
			expire(d)
		}
	}()
	b.settleAll(w, all)
	b.Settled()
	for i, d := range all {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
		if rec := b.record(d.Key()); rec == nil || !rec.DeliveredTo(0) || len(rec.Attempts) != 1 {
			t.Errorf("m%d: record %+v", i, rec)
		}
	}
	if len(s.batched) < n/2 {
		t.Errorf("%d records came in batches", len(s.batched))
	}
	for _, d := range late {
		if slices.Contains(s.batched, d.Key().RecordSubject()) {
			t.Errorf("the record of %s was in a batch, though its lease had expired", d.Key())
		}
	}
}

// TestKilledInABatch: a worker is killed when a half of a batch of records has arrived, or
// when it is stored and the answer is on its way. What the broker stored is not sent again.
func TestKilledInABatch(t *testing.T) {
	t.Parallel()
	const n = 24
	for at, want := range map[string]bool{"batch": false, "batched": true} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Config.Capacity = wb.Capacity(n)
			d := &wb.Death{At: at}
			for i := range n {
				b.Publish(fmt.Sprint("m", i), "ann@example.net")
			}
			b.Relay.Hold = meet(n)
			stop := b.Work(d)
			b.Eventually("the worker dies", d.IsDead)
			stop()
			b.Relay.Hold = nil
			recorded := b.recordsStored()
			if stored := recorded > commitsAlone; stored != want {
				t.Errorf("%d records are stored", recorded)
			}
			b.Work(nil)
			b.Settled()
			twice := 0
			for i := range n {
				times := b.Relay.Accepted()[fmt.Sprintf("m%d ann@example.net", i)]
				if twice += max(times-1, 0); times == 0 {
					t.Errorf("m%d is lost", i)
				}
			}
			if twice > n-recorded {
				t.Errorf("%d were sent twice, and %d of %d were recorded", twice, recorded, n)
			}
		})
	}
}

// commitsAlone is more than the records that are written before the first batch.
const commitsAlone = 6

// recordsStored is how many records are stored.
func (b *bench) recordsStored() int {
	b.T.Helper()
	s, err := b.Conn.JS().Stream(b.T.Context(), wire.StreamRecord)
	if err != nil {
		b.T.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

package settle_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const lane = wb.Lane

// bench is the shared bench, and what the tests of the steps add: deliveries made
// by pulling, so that each moment is the test's to choose.
type bench struct{ *wb.Bench }

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{wb.New(t)}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// worker settles what it is given and fetches nothing by itself.
type worker struct {
	*wb.Worker
	*settle.Settler
	fetch context.Context
	stop  context.CancelFunc
}

func (b *bench) idle() *worker {
	b.T.Helper()
	w := &worker{Worker: b.Worker(nil)}
	w.fetch, w.stop = context.WithCancel(b.T.Context())
	b.T.Cleanup(w.stop)
	w.Settler = b.Settler(w.Worker)
	return w
}

func (w *worker) settle(ctx context.Context, d *settle.Delivery) error {
	return w.Settler.Settle(settle.Span{Fetch: w.fetch, Work: ctx, Settle: ctx}, d)
}

// handle is what a test has of a message that it pulled. The lease expires when the
// test says so.
type handle struct {
	jetstream.Msg
	expired atomic.Bool
}

func (h *handle) Ack(ctx context.Context) error { return h.DoubleAck(ctx) }
func (h *handle) Requeue(pause time.Duration) error {
	if h.Expired() {
		return nil
	}
	return h.NakWithDelay(pause)
}
func (h *handle) Expired() bool { return h.expired.Load() }

// expire ends the lease of a delivery that was pulled here.
func expire(d *settle.Delivery) { d.Handle.(*handle).expired.Store(true) }

// deaf is a delivery whose acks get no answer.
type deaf struct{ settle.Handle }

func (deaf) Ack(context.Context) error { return nats.ErrNoResponders }

// pull takes the next message of a source.
func (b *bench) pull(w *worker, s wire.Source) *settle.Delivery {
	b.T.Helper()
	m, meta := b.Take(w.Consumer.Durable, s)
	return &settle.Delivery{
		Lane: lane, Stream: meta.Stream, Subject: m.Subject(), Sequence: meta.Sequence.Stream, Stored: meta.Timestamp,
		Header: m.Headers(), Body: m.Data(), Times: int(meta.NumDelivered), Handle: &handle{Msg: m},
	}
}

func (b *bench) pullFresh(w *worker) *settle.Delivery {
	b.T.Helper()
	return b.pull(w, lane.Sources()[0])
}

func (b *bench) pullDue(w *worker) *settle.Delivery {
	b.T.Helper()
	return b.pull(w, lane.Sources()[1])
}

// twin is a second delivery of one message, with a lease of its own.
func twin(d *settle.Delivery) *settle.Delivery {
	t := *d
	t.Handle = &handle{Msg: d.Handle.(*handle).Msg}
	return &t
}

func (b *bench) journal() settle.Journal { return b.Worker(nil).Settle.Journal }

func (b *bench) record(k wire.Key) *wire.Record {
	b.T.Helper()
	rec, _, err := b.journal().Lookup(b.T.Context(), k)
	if err != nil {
		b.T.Fatal(err)
	}
	return rec
}

// keyOf finds the key of a message by its records.
func (b *bench) keyOf(id string) wire.Key {
	b.T.Helper()
	k := wire.Key{Lane: lane, ID: id, Recipient: wire.All}
	b.Eventually("a record of "+id, func() bool {
		m, err := b.Store.Last(b.T.Context(), wire.StreamRecord, "mail.record."+string(lane)+"."+mail.Token(id)+".*.all")
		if err != nil {
			return false
		}
		r, err := wire.DecodeRecord(m.Data)
		k.Origin = r.Origin
		return err == nil
	})
	return k
}

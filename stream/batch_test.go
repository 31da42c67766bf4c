package stream_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// records are writes of n records, each of a key that has none.
func records(n, from int) []stream.Write {
	all := make([]stream.Write, n)
	for i := range all {
		m := atGeneration(deadKey.For(from+i).RecordSubject(), 0)
		all[i] = stream.Write{Msg: m, Filter: m.Subject}
	}
	return all
}

func messages(t *testing.T, b *natstest.Broker, name string) uint64 {
	t.Helper()
	s, err := b.Conn.JS().Stream(natstest.Within(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestBatch(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := b.Conn.Store()
	stored := uint64(0)
	for _, n := range []int{0, 1, 2, 50, stream.MaxBatch} {
		writes := records(n, int(stored))
		for i := range writes {
			writes[i].Msg.Header.Set(jetstream.MsgTTLHeader, "1h")
		}
		first, err := s.Batch(natstest.Within(t), writes)
		if err != nil || n > 0 && first != stored+1 {
			t.Fatalf("a batch of %d: %d, %v; want %d", n, first, err, stored+1)
		}
		for i, w := range writes {
			if len(w.Msg.Header) != 2 {
				t.Fatalf("Batch changed the header of message %d to %v", i, w.Msg.Header)
			}
			if i > 2 && i < n-1 {
				continue
			}
			m, err := s.Last(natstest.Within(t), wire.StreamRecord, w.Msg.Subject)
			if err != nil || m.Sequence != first+uint64(i) || m.Header.Get(jetstream.MsgTTLHeader) != "1h" {
				t.Errorf("message %d of %d is %v, %v; want sequence %d", i, n, m, err, first+uint64(i))
			}
		}
		stored += uint64(n)
	}
	// Each is in the log too.
	for ctx := natstest.Within(t); messages(t, b, wire.StreamEvent) < stored; {
		if ctx.Err() != nil {
			t.Fatalf("%d records are not all in the log", stored)
		}
	}
	// A lane takes batches without a condition, of one subject, with ids.
	mails := make([]stream.Write, 20)
	for i := range mails {
		mails[i].Msg = &nats.Msg{Subject: normal.SendSubject(), Header: nats.Header{nats.MsgIdHdr: {strconv.Itoa(i)}}, Data: []byte("x")}
	}
	if first, err := s.Batch(natstest.Within(t), mails); err != nil || first != 1 {
		t.Errorf("a batch of mails: %d, %v", first, err)
	}
	mails[7].Msg.Header.Set(nats.MsgIdHdr, "new")
	if _, err := s.Batch(natstest.Within(t), mails); !errors.Is(err, stream.ErrBatch) {
		t.Errorf("ids that the stream has already: %v, want ErrBatch", err)
	}
	if n := messages(t, b, normal.SendStream()); n != 20 {
		t.Errorf("the lane has %d messages, want 20", n)
	}
}

// TestBatchOfCopies: schedules in a batch, each with an expectation over all
// states of its key.
func TestBatchOfCopies(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	due := b.Conn.Now().Add(time.Second)
	writes := make([]stream.Write, 50)
	for i := range writes {
		k := deadKey.For(i)
		m := atGeneration(k.CopySubject(wire.CopyLater), 1)
		wire.Schedule(m.Header, due, k)
		writes[i] = stream.Write{Msg: m, Filter: k.CopySubject(wire.CopyAny)}
	}
	if _, err := b.Conn.Store().Batch(natstest.Within(t), writes); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Conn.Store().Batch(natstest.Within(t), writes); !errors.Is(err, stream.ErrConflict) {
		t.Errorf("the same again: %v, want ErrConflict", err)
	}
	q, err := b.Conn.JS().Consumer(natstest.Within(t), normal.LaterStream(), wire.ConsumerDue)
	if err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for len(fired) < len(writes) {
		m, err := q.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("%d of %d have fired: %v", len(fired), len(writes), err)
		}
		if fired[m.Subject()] {
			t.Errorf("%s fired twice", m.Subject())
		}
		fired[m.Subject()] = true
	}
}

// TestBatchRefused: each refusal has its class, and stores nothing.
func TestBatchRefused(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := b.Conn.Store()
	there := records(1, 7)
	if _, err := s.Set(natstest.Within(t), there[0].Msg, there[0].Filter, 0); err != nil {
		t.Fatal(err)
	}
	change := func(i int, f func(w *stream.Write)) []stream.Write {
		writes := records(10, 100)
		f(&writes[i])
		return writes
	}
	for name, c := range map[string]struct {
		writes []stream.Write
		want   error
	}{
		"a conflict in the middle": {records(10, 0), stream.ErrConflict},
		"a conflict at the end":    {records(10, -2), stream.ErrConflict},
		"a wrong expectation":      {change(3, func(w *stream.Write) { w.Expected = 99 }), stream.ErrConflict},
		"two on one subject":       {append(records(3, 100), records(2, 102)...), stream.ErrBatch},
		"two on one filter":        {change(3, func(w *stream.Write) { w.Filter = deadKey.For(100).RecordSubject() }), stream.ErrBatch},
		"another stream":           {change(3, func(w *stream.Write) { w.Msg.Subject = deadKey.DeadSubject() }), stream.ErrBatch},
		"no stream":                {change(3, func(w *stream.Write) { w.Msg.Subject = "elsewhere" }), stream.ErrBatch},
		"a rollup":                 {change(3, func(w *stream.Write) { w.Msg.Header.Set("Nats-Rollup", "all") }), stream.ErrBatch},
		"too many":                 {records(stream.MaxBatch+1, 100), stream.ErrBatch},
		"over max_payload":         {change(3, func(w *stream.Write) { w.Msg.Data = make([]byte, 9<<20) }), stream.ErrTooLarge},
		"headers over 64 KiB":      {change(9, func(w *stream.Write) { w.Msg.Header.Set("X", strings.Repeat("x", 70<<10)) }), stream.ErrTooLarge},
		"a stream without batches": {deads(5), stream.ErrBatch},
	} {
		_, err := s.Batch(natstest.Within(t), c.writes)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		for _, other := range []error{stream.ErrConflict, stream.ErrBatch, stream.ErrTooLarge, stream.ErrFull, stream.ErrAway} {
			if other != c.want && errors.Is(err, other) {
				t.Errorf("%s: %v is %v too", name, err, other)
			}
		}
	}
	if n := messages(t, b, wire.StreamRecord); n != 1 {
		t.Errorf("%d records, want one", n)
	}
	if n := messages(t, b, wire.StreamDead); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
	// After all that batches are still taken.
	if _, err := s.Batch(natstest.Within(t), records(10, 100)); err != nil {
		t.Errorf("a good one afterwards: %v", err)
	}
	small := natstest.ConfigOf(t, b.Conn.JS(), normal.SendStream())
	small.MaxBytes = 3000
	natstest.Update(t, b.Conn.JS(), small)
	mails := make([]stream.Write, 10)
	for i := range mails {
		mails[i].Msg = &nats.Msg{Subject: normal.SendSubject(), Data: make([]byte, 1000)}
	}
	if _, err := s.Batch(natstest.Within(t), mails); !errors.Is(err, stream.ErrFull) {
		t.Errorf("a batch larger than the room: %v, want ErrFull", err)
	}
	if n := messages(t, b, normal.SendStream()); n != 0 {
		t.Errorf("%d messages of a batch that did not fit are stored", n)
	}
}

// deads are dead letters, whose stream takes no batches.
func deads(n int) []stream.Write {
	all := make([]stream.Write, n)
	for i := range all {
		all[i].Msg = atGeneration(deadKey.For(i).DeadSubject(), 0)
	}
	return all
}

// TestOpenBatches: batches that nobody ends keep others from batches, and
// nobody from single writes.
func TestOpenBatches(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	nc := b.Producer(t)
	for i := range 100 {
		m := &nats.Msg{Subject: normal.SendSubject(), Header: nats.Header{"Nats-Batch-Id": {fmt.Sprint(i)}, "Nats-Batch-Sequence": {"1"}}, Data: []byte("x")}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushWithContext(natstest.Within(t)); err != nil {
		t.Fatal(err)
	}
	mails := make([]stream.Write, 3)
	for i := range mails {
		mails[i].Msg = &nats.Msg{Subject: normal.SendSubject(), Data: []byte("x")}
	}
	// What the producer sent may not all have been read.
	s, err := b.Conn.Store(), error(nil)
	for ctx := natstest.Within(t); ctx.Err() == nil && !errors.Is(err, stream.ErrBatch); {
		_, err = s.Batch(ctx, mails)
	}
	if !errors.Is(err, stream.ErrBatch) {
		t.Errorf("with a hundred open batches: %v, want ErrBatch", err)
	}
	if _, err := s.Publish(natstest.Within(t), mails[0].Msg); err != nil {
		t.Errorf("a single publish: %v", err)
	}
	// Other streams have batches of their own.
	if _, err := s.Batch(natstest.Within(t), records(10, 0)); err != nil {
		t.Errorf("a batch of records: %v", err)
	}
}

// TestBatchWithoutAnAnswer: as for single writes nothing is sent while there is
// no connection.
func TestBatchWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	lost := b.Conn.NC().StatusChanged(nats.RECONNECTING)
	shutdown(t, b)
	<-lost
	if _, err := b.Conn.Store().Batch(natstest.Within(t), records(10, 0)); !errors.Is(err, stream.ErrAway) {
		t.Errorf("while disconnected: %v, want ErrAway", err)
	}
	b.Restart(t)
	if n := messages(t, b, wire.StreamRecord); n != 0 {
		t.Errorf("after the reconnect there are %d records", n)
	}
}

// TestBatchesRace: of several batches that share keys exactly one is stored.
func TestBatchesRace(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]func(t *testing.T) (*stream.Store, jetstream.JetStream){
		"one server": func(t *testing.T) (*stream.Store, jetstream.JetStream) {
			c := natstest.Start(t).Conn
			return c.Store(), c.JS()
		},
		"three replicas": func(t *testing.T) (*stream.Store, jetstream.JetStream) {
			c := natstest.StartCluster(t, time.Minute, normal).Connect(t, "worker")
			return c.Store(), c.JS()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, js := s(t)
			for round := range 5 {
				var wg sync.WaitGroup
				errs := make([]error, 8)
				for i := range errs {
					wg.Go(func() {
						writes := records(20, round*100)
						if i%2 == 1 {
							slices.Reverse(writes)
						}
						_, errs[i] = s.Batch(natstest.Within(t), writes)
					})
				}
				wg.Wait()
				won := 0
				for _, err := range errs {
					switch {
					case err == nil:
						won++
					case !errors.Is(err, stream.ErrConflict) && !errors.Is(err, stream.ErrBatch):
						t.Errorf("round %d: %v", round, err)
					}
				}
				info, err := js.Stream(natstest.Within(t), wire.StreamRecord)
				if err != nil {
					t.Fatal(err)
				}
				if n := info.CachedInfo().State.Msgs; won != 1 || n != uint64(20*(round+1)) {
					t.Errorf("round %d: %d batches were stored, and there are %d records", round, won, n)
				}
			}
		})
	}
}

// TestBatchWithoutJetStream: what is no stream does not acknowledge.
func TestBatchWithoutJetStream(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(natstest.StartServer(t, func(o *server.Options) { o.JetStream = false }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := stream.New(nc).Batch(natstest.Within(t), records(3, 0)); !errors.Is(err, stream.ErrAway) {
		t.Errorf("nobody listens: %v, want ErrAway", err)
	}
	if _, err := nc.Subscribe(">", func(m *nats.Msg) { _ = m.Respond([]byte(`{"stream":"X","seq":3}`)) }); err != nil {
		t.Fatal(err)
	}
	if first, err := stream.New(nc).Batch(natstest.Within(t), records(3, 0)); err == nil {
		t.Errorf("took an answer without a batch for %d", first)
	}
}

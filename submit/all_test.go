package submit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/submit"
	"github.com/postrider/postrider/wire"
)

// mails are n mails with the IDs "0", "1" and so on.
func mails(n int) []*schema.Envelope {
	all := make([]*schema.Envelope, n)
	for i := range all {
		all[i] = hello(strconv.Itoa(i))
	}
	return all
}

type result struct {
	submit.Receipt

	err error
}

// resultsOf are those of all mails.
func resultsOf(ctx context.Context, c *submit.Client, lane wire.Lane, mails iter.Seq[*schema.Envelope]) (all []result) {
	for r, err := range c.PublishAll(ctx, lane, mails) {
		all = append(all, result{r, err})
	}
	return all
}

// content are the messages of the lane, by sequence.
func content(t *testing.T, b *natstest.Broker, lane wire.Lane) map[uint64]*jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.Conn.JS().Stream(natstest.Within(t), lane.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]*jetstream.RawStreamMsg{}
	for state, seq := s.CachedInfo().State, uint64(1); seq <= state.LastSeq; seq++ {
		if all[seq], err = s.GetMsg(natstest.Within(t), seq); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// batched is how many of the messages came in a batch.
func batched(messages map[uint64]*jetstream.RawStreamMsg) (n int) {
	for _, m := range messages {
		if m.Header.Get("Nats-Batch-Id") != "" {
			n++
		}
	}
	return n
}

// allStored holds that the mails are in the lane once each, at the sequences of the
// results, which are in their order. It returns what the lane has.
func allStored(t *testing.T, b *natstest.Broker, results []result, mails int) map[uint64]*jetstream.RawStreamMsg {
	t.Helper()
	messages := content(t, b, normal)
	if len(results) != mails || len(messages) != mails {
		t.Fatalf("%d results and %d messages of %d mails", len(results), len(messages), mails)
	}
	for i, r := range results {
		if r.err != nil || r.ID != strconv.Itoa(i) || r.Lane != normal {
			t.Fatalf("result %d is %+v", i, r)
		}
		if m := messages[r.Sequence]; m == nil || m.Header.Get(schema.HeaderMsgID) != r.ID {
			t.Fatalf("mail %d is not at %d", i, r.Sequence)
		}
	}
	return messages
}

func TestPublishAll(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	const n = 1000
	results := resultsOf(within(t, patience), submit.New(b.Producer(t)), normal, slices.Values(mails(n)))
	messages := allStored(t, b, results, n)
	if some := batched(messages); some < n/2 {
		t.Errorf("%d of %d mails came in batches", some, n)
	}
	for i, r := range results {
		if r.Sequence != uint64(i+1) || r.Duplicate {
			t.Fatalf("mail %d: %+v", i, r)
		}
	}
	for _, r := range resultsOf(within(t, patience), submit.New(b.Producer(t)), normal, slices.Values(mails(n))) {
		if r.err != nil || !r.Duplicate || messages[r.Sequence].Header.Get(schema.HeaderMsgID) != r.ID {
			t.Fatalf("the same again: %+v", r)
		}
	}
	if again := len(content(t, b, normal)); again != n {
		t.Errorf("%d are stored, want %d", again, n)
	}
}

// TestOneBadMail costs the others nothing: not even their batches, after its own.
func TestOneBadMail(t *testing.T) {
	t.Parallel()
	const n, bad = 1000, 300
	for name, tt := range map[string]struct {
		mail func() *schema.Envelope
		want func(r result) bool
	}{
		"refused": {
			func() *schema.Envelope { return &schema.Envelope{ID: "bad", Raw: []byte("From: a@b\r\n\r\n")} },
			func(r result) bool { _, ok := errors.AsType[*schema.EnvelopeError](r.err); return ok },
		},
		"published before": {
			func() *schema.Envelope { return hello("bad") },
			func(r result) bool { return r.err == nil && r.Duplicate && r.Sequence == 1 },
		},
		"its ID comes twice": {
			func() *schema.Envelope { return hello(strconv.Itoa(bad - 1)) },
			func(r result) bool { return r.err == nil && r.Duplicate && r.Sequence > 1 },
		},
		"over the lane's size": {
			func() *schema.Envelope { return &schema.Envelope{ID: "bad", Raw: raw(8<<20 - 32<<10)} },
			func(r result) bool { return errors.Is(r.err, stream.ErrTooLarge) },
		},
		"over max_payload": {
			func() *schema.Envelope { return &schema.Envelope{ID: "bad", Raw: raw(9 << 20)} },
			func(r result) bool { return errors.Is(r.err, stream.ErrTooLarge) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			c := submit.New(b.Producer(t))
			if name == "published before" {
				if _, err := c.Publish(within(t, patience), normal, hello("bad")); err != nil {
					t.Fatal(err)
				}
			}
			all := slices.Insert(mails(n), bad, tt.mail())
			results := resultsOf(within(t, patience), c, normal, slices.Values(all))
			if len(results) != n+1 || !tt.want(results[bad]) || results[bad].ID != all[bad].ID || results[bad].Lane != normal {
				t.Fatalf("%d results; the mail's: %+v", len(results), results[bad])
			}
			messages := content(t, b, normal)
			for i, r := range results {
				if i != bad && (r.err != nil || r.Duplicate || messages[r.Sequence].Header.Get(schema.HeaderMsgID) != all[i].ID) {
					t.Fatalf("mail %d: %+v", i, r)
				}
			}
			if some := batched(messages); some < n/2 {
				t.Errorf("%d of %d mails came in batches", some, n)
			}
		})
	}
}

// TestRepeatedIDs: of two mails the first is stored, and no batch that has both is
// refused for it.
func TestRepeatedIDs(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	var all []*schema.Envelope
	for i, e := range mails(1000) {
		if all = append(all, e); i%10 == 9 {
			all = append(all, e)
		}
	}
	results := resultsOf(within(t, patience), submit.New(b.Producer(t)), normal, slices.Values(all))
	for i, r := range results {
		again := i%11 == 10
		if r.err != nil || r.Duplicate != again || again && r.Sequence != results[i-1].Sequence {
			t.Fatalf("mail %d: %+v", i, r)
		}
	}
	messages := content(t, b, normal)
	if some := batched(messages); len(results) != 1100 || len(messages) != 1000 || some < 500 {
		t.Errorf("%d results; %d are stored, %d of them in batches", len(results), len(messages), some)
	}
}

// TestWithoutBatches: a broker that takes no batches gets the mails one by one.
func TestWithoutBatches(t *testing.T) {
	t.Parallel()
	const n = 1000
	t.Run("not allowed", func(t *testing.T) {
		t.Parallel()
		b := natstest.Start(t)
		cfg := natstest.ConfigOf(t, b.Conn.JS(), normal.SendStream())
		cfg.AllowAtomicPublish = false
		natstest.Update(t, b.Conn.JS(), cfg)
		var tried atomic.Int64
		tap, err := b.Conn.NC().Subscribe(normal.SendSubject(), func(m *nats.Msg) {
			if m.Header.Get("Nats-Batch-Id") != "" {
				tried.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tap.Unsubscribe() }()
		c := submit.New(b.Producer(t))
		messages := allStored(t, b, resultsOf(within(t, patience), c, normal, slices.Values(mails(n))), n)
		if some := batched(messages); some != 0 {
			t.Errorf("%d mails came in batches", some)
		}
		if some := tried.Load(); some == 0 || some > n/2 {
			t.Errorf("%d mails were tried in batches", some)
		}
	})
	t.Run("too many are open", func(t *testing.T) {
		t.Parallel()
		b := natstest.Start(t)
		other := b.Producer(t)
		for i := range 50 {
			m := &nats.Msg{Subject: normal.SendSubject(), Header: nats.Header{"Nats-Batch-Id": {fmt.Sprint("open", i)}, "Nats-Batch-Sequence": {"1"}}}
			if err := other.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Flush(); err != nil {
			t.Fatal(err)
		}
		c := submit.New(b.Producer(t))
		// They are dropped after ten seconds, and this takes less.
		messages := allStored(t, b, resultsOf(within(t, 9*time.Second), c, normal, slices.Values(mails(n))), n)
		if some := batched(messages); some != 0 {
			t.Errorf("%d mails came in batches", some)
		}
	})
}

// TestAllToNoLane waits for the lane once, and says so once.
func TestAllToNoLane(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c, told := submit.New(b.Producer(t)), 0
	c.Waiting = func(error) { told++ }
	began := time.Now()
	results := resultsOf(within(t, patience), c, "nrmal", slices.Values(mails(1000)))
	for i, r := range results {
		if !errors.Is(r.err, submit.ErrNoLane) || r.ID != strconv.Itoa(i) || r.Sequence != 0 {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	if took := time.Since(began); len(results) != 1000 || told != 1 || took > 8*time.Second {
		t.Errorf("%d results after %s, told %d times", len(results), took, told)
	}
	for _, r := range resultsOf(within(t, patience), c, "UP", slices.Values(mails(2))) {
		if !errors.Is(r.err, submit.ErrNoLane) {
			t.Error(r)
		}
	}
}

// TestAllForbidden says so of each, and soon.
func TestAllForbidden(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	all := mails(1000)
	for _, e := range all {
		e.Tenant = "acme"
	}
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	began := time.Now()
	results := resultsOf(within(t, patience), submit.New(b.Producer(t, quiet)), normal, slices.Values(all))
	if n := count(results, func(r result) bool { return errors.Is(r.err, submit.ErrForbidden) }); n != 1000 || time.Since(began) > 4*time.Second {
		t.Errorf("%d of %d results are ErrForbidden, after %s", n, len(results), time.Since(began))
	}
}

// TestAllOfTenants: one's ID does not drop another's mail, and they share batches.
func TestAllOfTenants(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	tenants := []string{"", "acme", "globex"}
	var all []*schema.Envelope
	for _, e := range mails(300) {
		for _, tenant := range tenants {
			copied := *e
			copied.Tenant = tenant
			all = append(all, &copied)
		}
	}
	results := resultsOf(within(t, patience), submit.New(b.Conn.NC()), normal, slices.Values(all))
	messages, subjects := content(t, b, normal), map[string]string{"": "mail.send.normal", "acme": "mail.send.normal.acme", "globex": "mail.send.normal.globex"}
	if len(results) != len(all) || len(messages) != len(all) || batched(messages) < len(all)/2 {
		t.Fatalf("%d results, %d messages, %d in batches", len(results), len(messages), batched(messages))
	}
	for i, r := range results {
		if m := messages[r.Sequence]; r.err != nil || r.Duplicate || r.ID != all[i].ID || m.Subject != subjects[all[i].Tenant] {
			t.Fatalf("%d: %+v is on %s", i, r, m.Subject)
		}
	}
}

// TestAllWithoutIDs get one each.
func TestAllWithoutIDs(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	same, ids := hello(""), map[string]bool{}
	for _, r := range resultsOf(within(t, patience), submit.New(b.Producer(t)), normal, slices.Values(slices.Repeat([]*schema.Envelope{same}, 100))) {
		if ids[r.ID] = true; r.err != nil || len(r.ID) != 36 || r.Duplicate || same.ID != "" {
			t.Fatal(r)
		}
	}
	if len(ids) != 100 {
		t.Errorf("%d IDs of 100 mails", len(ids))
	}
}

// TestOneMailDoesNotWaitForOthers: each mail here is made after the result of the one before.
func TestOneMailDoesNotWaitForOthers(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	answered := make(chan bool, 1)
	next := func(yield func(*schema.Envelope) bool) {
		for _, e := range mails(20) {
			if !yield(e) || !<-answered {
				return
			}
		}
	}
	for r, err := range submit.New(b.Producer(t)).PublishAll(within(t, patience), normal, next) {
		answered <- err == nil
		if err != nil {
			t.Error(r, err)
		}
	}
}

// TestLostAnswer: the connection is lost together with the answer to the first batch.
// The mails are published again, and the broker tells them from new ones.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	d := &deafOnce{said: []byte(`"batch":`)}
	nc := b.Producer(t, nats.SetCustomDialer(d), nats.ReconnectWait(10*time.Millisecond))
	const n = 1000
	results := resultsOf(within(t, patience), submit.New(nc), normal, slices.Values(mails(n)))
	allStored(t, b, results, n)
	if again := count(results, func(r result) bool { return r.Duplicate }); !d.done.Load() || again < 2 || again > 200 {
		t.Errorf("answer lost: %v, %d duplicates", d.done.Load(), again)
	}
}

// TestEndsWithoutAnswer: ctx ends when a batch is stored and its answer is lost. Its
// mails are not called unpublished.
func TestEndsWithoutAnswer(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	ctx, cancel := context.WithCancel(within(t, patience))
	nc := b.Producer(t, nats.SetCustomDialer(&deafOnce{said: []byte(`"batch":`), then: cancel}), nats.ReconnectWait(10*time.Millisecond))
	results := resultsOf(ctx, submit.New(nc), normal, slices.Values(mails(1000)))
	stored := len(content(t, b, normal))
	known := count(results, func(r result) bool { return r.err == nil || errors.Is(r.err, stream.ErrAway) })
	if stored < 2 || known < stored {
		t.Errorf("%d mails are stored, and only %d are said to be, perhaps", stored, known)
	}
}

func count(results []result, is func(result) bool) (n int) {
	for _, r := range results {
		if is(r) {
			n++
		}
	}
	return n
}

// deafOnce connects, and loses the first connection that is said that word, unheard.
type deafOnce struct {
	said []byte
	done atomic.Bool
	// then, if it is set, is called before the connection is lost.
	then func()
}

func (d *deafOnce) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, briefly)
	return &deafConn{c, d}, err
}

type deafConn struct {
	net.Conn

	deaf *deafOnce
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bytes.Contains(b[:n], c.deaf.said) && c.deaf.done.CompareAndSwap(false, true) {
		if c.deaf.then != nil {
			c.deaf.then()
		}
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestAllOutlastARestart: nothing is lost and nothing is stored twice.
func TestAllOutlastARestart(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c, err := submit.Dial(within(t, patience), b.Config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 2000
	var results []result
	underWay, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for r, err := range c.PublishAll(within(t, patience), normal, slices.Values(mails(n))) {
			if results = append(results, result{r, err}); len(results) == n/4 {
				close(underWay) // and so are the mails that follow
			}
		}
	}()
	<-underWay
	b.Restart(t)
	<-done
	allStored(t, b, results, n)
}

// TestPatience ends the publishes to a broker that is gone, though ctx does not end.
func TestPatience(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Producer(t))
	c.Patience = 300 * time.Millisecond
	if err := b.Embedded.Shutdown(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), normal, hello("x")); !errors.Is(err, stream.ErrAway) {
		t.Errorf("Publish = %v, want ErrAway", err)
	}
	results := resultsOf(t.Context(), c, normal, slices.Values(mails(300)))
	if n := count(results, func(r result) bool { return errors.Is(r.err, stream.ErrAway) }); n != 300 {
		t.Errorf("%d of %d results are ErrAway", n, len(results))
	}
}

// TestContextEnds: each mail that was read has its result, and those that were stored
// say so. No more are read.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	ctx, cancel := context.WithCancel(within(t, patience))
	defer cancel()
	read, after := 0, 0
	endless := func(yield func(*schema.Envelope) bool) {
		for more := true; more; read++ {
			if ctx.Err() != nil {
				after++
			}
			more = yield(hello(strconv.Itoa(read)))
		}
	}
	var results []result
	for r, err := range submit.New(b.Producer(t)).PublishAll(ctx, normal, endless) {
		if results = append(results, result{r, err}); len(results) == 500 {
			cancel()
		}
	}
	messages := content(t, b, normal)
	unsent := 0
	for i, r := range results {
		switch m := messages[r.Sequence]; {
		case r.err == nil && m.Header.Get(schema.HeaderMsgID) == strconv.Itoa(i), errors.Is(r.err, stream.ErrAway):
		case errors.Is(r.err, context.Canceled):
			unsent++
		default:
			t.Fatalf("%d: %+v", i, r)
		}
	}
	if len(results) != read || after > 1 || unsent == 0 || len(messages) < 500 || len(messages) > read-unsent {
		t.Errorf("%d results of %d mails, %d of them read after the end and %d not sent; %d stored", len(results), read, after, unsent, len(messages))
	}
}

// TestLoopIsLeft: it ends, and nothing goes on behind it.
func TestLoopIsLeft(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	var running atomic.Bool
	endless := func(yield func(*schema.Envelope) bool) {
		running.Store(true)
		defer running.Store(false)
		for yield(hello("")) {
		}
	}
	for _, err := range submit.New(b.Producer(t)).PublishAll(within(t, patience), normal, endless) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if running.Load() {
		t.Error("mails are still read")
	}
}

package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, role := range []broker.Role{broker.Publisher, broker.Operator} {
		c := b.Connect(t, role)
		header := nats.Header{"Content-Type": {"message/rfc822"}}
		id := "id of " + string(role)
		first, err := c.Publish(within(t), normal, id, header, []byte("x"))
		if err != nil || first.Stream != normal.SendStream() || first.Sequence == 0 || first.Duplicate {
			t.Fatalf("%s: Publish = %+v, %v", role, first, err)
		}
		again, err := c.Publish(within(t), normal, id, header, []byte("x"))
		if err != nil || again.Sequence != first.Sequence || !again.Duplicate {
			t.Errorf("%s: the same id again = %+v, %v; want a duplicate of %d", role, again, err, first.Sequence)
		}
		if len(header) != 1 {
			t.Errorf("%s: Publish changed the caller's header to %v", role, header)
		}
		m, err := b.Conn.Store().Last(within(t), normal.SendStream(), normal.SendSubject())
		if err != nil || m.Header.Get("Content-Type") != "message/rfc822" || m.Header.Get("Nats-Msg-Id") != id || string(m.Data) != "x" {
			t.Errorf("%s: stored %+v, %v", role, m, err)
		}
	}
}

func TestPublishFailures(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	js := b.Conn.JS()
	small := configOf(t, js, bulk.SendStream())
	small.MaxBytes = 1000
	update(t, js, small)
	tests := map[string]struct {
		lane   wire.Lane
		header nats.Header
		body   []byte
		want   error
		says   string
	}{
		"full":               {bulk, nil, make([]byte, 2000), stream.ErrFull, "10077"},
		"over the lane's":    {normal, nil, make([]byte, 8<<20-32<<10), stream.ErrTooLarge, "the lane takes 8323072"},
		"over max_payload":   {normal, nil, make([]byte, 9<<20), stream.ErrTooLarge, "it has 9437184 bytes"},
		"header over 64 KiB": {normal, nats.Header{"Mail-Tag": {strings.Repeat("x", 70<<10)}}, nil, stream.ErrTooLarge, "65536 of headers"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := b.Conn.Publish(within(t), tt.lane, "", tt.header, tt.body)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Publish = %v, want %v saying %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestPublishToNoLane(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, c := range []*broker.Conn{b.Conn, b.Connect(t, broker.Publisher)} {
		ctx, cancel := briefly(t)
		defer cancel()
		_, err := c.Publish(ctx, "nrmal", "", nil, nil)
		if !errors.Is(err, broker.ErrNoLane) || !strings.Contains(err.Error(), "nrmal") || !strings.Contains(err.Error(), "POSTRIDER_LANES") {
			t.Errorf("Publish = %v, want ErrNoLane", err)
		}
	}
	t.Run("without a deadline", func(t *testing.T) {
		t.Parallel()
		if _, err := b.Conn.Publish(t.Context(), "nrmal", "", nil, nil); !errors.Is(err, broker.ErrNoLane) {
			t.Errorf("Publish = %v, want ErrNoLane", err)
		}
	})
}

func TestPublishOutlastsARestart(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := b.Connect(t, broker.Publisher)
	shutdown(t, b.Embedded)
	type result struct {
		ack broker.Ack
		err error
	}
	done := make(chan result)
	ctx := within(t)
	go func() {
		ack, err := c.Publish(ctx, normal, "a", nil, []byte("x"))
		done <- result{ack, err}
	}()
	b.Restart(t)
	r := <-done
	if r.err != nil || r.ack.Duplicate {
		t.Fatalf("Publish over a restart = %+v, %v", r.ack, r.err)
	}
	if again, err := c.Publish(ctx, normal, "a", nil, []byte("x")); err != nil || !again.Duplicate {
		t.Errorf("the same id again = %+v, %v; want a duplicate", again, err)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	shutdown(t, b.Embedded)
	ctx, cancel := briefly(t)
	defer cancel()
	if _, err := b.Conn.Publish(ctx, normal, "a", nil, nil); !errors.Is(err, stream.ErrAway) {
		t.Errorf("Publish to a broker that is gone = %v, want ErrAway", err)
	}
}

func TestPublishToSomethingThatIsNoStream(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	sub, err := b.Conn.NC().Subscribe("mail.send.fake", func(m *nats.Msg) { _ = m.Respond([]byte("+OK")) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if ack, err := b.Conn.Publish(within(t), "fake", "a", nil, nil); err == nil {
		t.Errorf("took %+v for an acknowledgement", ack)
	}
}

func TestRecordIsSourcedIntoItsBucket(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, id := range []string{"order-1", "Ünïcode and spaces", strings.Repeat("x", 300), "_", "a"} {
		key := wire.Key{Lane: normal, ID: id, Origin: wire.Origin(time.Now(), 7), Recipient: wire.All}
		if _, err := b.Conn.JS().Publish(within(t), key.RecordSubject(), []byte(id)); err != nil {
			t.Fatal(err)
		}
		if m := awaitLast(t, b.Conn, wire.StreamEvent, key.EventSubject()); string(m.Data) != id {
			t.Errorf("%s holds %q, want %q", key.EventSubject(), m.Data, id)
		}
	}
	// Operators' acts on a lane are published there directly.
	if _, err := b.Conn.JS().Publish(within(t), "mail.event.normal.0", nil); err != nil {
		t.Error(err)
	}
}

// TestEveryRecordIsInTheLog: records of one key that follow each other faster
// than they are sourced all have their entry; a limit of one a subject lost
// those that were overwritten first.
func TestEveryRecordIsInTheLog(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	const n = 500
	for range n {
		if _, err := b.Conn.JS().PublishAsync(key.RecordSubject(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t)
	for {
		s, err := b.Conn.JS().Stream(ctx, wire.StreamEvent)
		if err != nil {
			t.Fatalf("%d records are not all in the log: %v", n, err)
		}
		if s.CachedInfo().State.Msgs == n {
			return
		}
		awaitTick(ctx, t)
	}
}

func TestRecordExpiresAndItsEntryStays(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	if _, err := b.Conn.JS().Publish(within(t), key.RecordSubject(), []byte("x"), jetstream.WithMsgTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	awaitLast(t, b.Conn, wire.StreamEvent, key.EventSubject())
	ctx := within(t)
	for {
		_, err := b.Conn.Store().Last(ctx, wire.StreamRecord, key.RecordSubject())
		if errors.Is(err, stream.ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		awaitTick(ctx, t)
	}
	if _, err := b.Conn.Store().Last(ctx, wire.StreamEvent, key.EventSubject()); err != nil {
		t.Errorf("the entry of an expired record: %v", err)
	}
}

// awaitTick lets a poller of the broker's state breathe.
func awaitTick(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	case <-time.After(20 * time.Millisecond):
	}
}

func TestScheduleFiresIntoDue(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	m := &nats.Msg{Subject: key.CopySubject(wire.CopyLater), Data: []byte("body"), Header: nats.Header{
		jetstream.ScheduleHeader:       {"@at " + time.Now().Add(300*time.Millisecond).UTC().Format(time.RFC3339Nano)},
		jetstream.ScheduleTargetHeader: {key.CopySubject(wire.CopyDue)},
		wire.HeaderGeneration:          {"1"},
		"Mail-To":                      {"a@example.org", "b@example.org"},
	}}
	seq, already, err := b.Conn.Store().Put(within(t), m, key.CopySubject(wire.CopyAny), 0, 1)
	if err != nil || already {
		t.Fatalf("Put = %d, %v, %v", seq, already, err)
	}
	q, err := b.Conn.JS().Consumer(within(t), normal.LaterStream(), wire.ConsumerDue)
	if err != nil {
		t.Fatal(err)
	}
	due, err := q.Next(jetstream.FetchMaxWait(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	h := due.Headers()
	if due.Subject() != key.CopySubject(wire.CopyDue) || string(due.Data()) != "body" || h.Get(wire.HeaderGeneration) != "1" || len(h.Values("Mail-To")) != 2 {
		t.Errorf("fired %s with %v", due.Subject(), h)
	}
	// It is still the key's one copy: the filter covers both.
	if got, already, err := b.Conn.Store().Put(within(t), m, key.CopySubject(wire.CopyAny), 0, 1); err != nil || !already || got <= seq {
		t.Errorf("Put again = %d, %v, %v; want the fired copy", got, already, err)
	}
}

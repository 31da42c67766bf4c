package broker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestRecordIsSourcedIntoItsBucket(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, id := range []string{"order-1", "Ünïcode and spaces", strings.Repeat("x", 300), "_", "a"} {
		key := wire.Key{Lane: normal, ID: id, Origin: wire.Origin(time.Now(), 7), Recipient: wire.All}
		if _, err := b.Conn.JS().Publish(natstest.Within(t), key.RecordSubject(), []byte(id)); err != nil {
			t.Fatal(err)
		}
		if m := natstest.AwaitLast(t, b.Conn, wire.StreamEvent, key.EventSubject()); string(m.Data) != id {
			t.Errorf("%s holds %q, want %q", key.EventSubject(), m.Data, id)
		}
	}
	// Operators' acts on a lane are published there directly.
	if _, err := b.Conn.JS().Publish(natstest.Within(t), "mail.event.normal.0", nil); err != nil {
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
	testrun.Eventually(t, "all records are in the log", natstest.Timeout, func() bool {
		s, err := b.Conn.JS().Stream(natstest.Within(t), wire.StreamEvent)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs == n
	})
}

func TestRecordExpiresAndItsEntryStays(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	if _, err := b.Conn.JS().Publish(natstest.Within(t), key.RecordSubject(), []byte("x"), jetstream.WithMsgTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	natstest.AwaitLast(t, b.Conn, wire.StreamEvent, key.EventSubject())
	testrun.Eventually(t, "the record expires", natstest.Timeout, func() bool {
		_, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamRecord, key.RecordSubject())
		if err != nil && !errors.Is(err, stream.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	})
	if _, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamEvent, key.EventSubject()); err != nil {
		t.Errorf("the entry of an expired record: %v", err)
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
	seq, already, err := b.Conn.Store().Put(natstest.Within(t), m, key.CopySubject(wire.CopyAny), 0, 1)
	if err != nil || already {
		t.Fatalf("Put = %d, %v, %v", seq, already, err)
	}
	q, err := b.Conn.JS().Consumer(natstest.Within(t), normal.LaterStream(), wire.ConsumerDue)
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
	if got, already, err := b.Conn.Store().Put(natstest.Within(t), m, key.CopySubject(wire.CopyAny), 0, 1); err != nil || !already || got <= seq {
		t.Errorf("Put again = %d, %v, %v; want the fired copy", got, already, err)
	}
}

package broker_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

// TestLogIsSourcedNoMore: MAIL_EVENT of version 2 copied MAIL_RECORD by itself. Beside the
// entries that workers write, each record would be there twice. Its entries stay.
func TestLogIsSourcedNoMore(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	old := natstest.ConfigOf(t, js, wire.StreamEvent)
	old.Metadata["postrider-version"] = "2"
	old.Sources = []*jetstream.StreamSource{{Name: wire.StreamRecord, SubjectTransforms: []jetstream.SubjectTransformConfig{
		{Source: "mail.record.*.*.*.*", Destination: "mail.event.{{wildcard(1)}}.{{partition(4096,2)}}"},
	}}}
	natstest.Update(t, js, old)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	record := func(data string) {
		t.Helper()
		if _, err := js.Publish(natstest.Within(t), key.RecordSubject(), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	entries := func() uint64 {
		s, err := js.Stream(natstest.Within(t), wire.StreamEvent)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	record("before")
	testrun.Eventually(t, "the record is copied", natstest.Timeout, func() bool { return entries() == 1 })
	m, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamEvent, key.EventSubject())
	if err != nil || string(m.Data) != "before" {
		t.Errorf("its bucket holds %v, %v", m, err)
	}
	if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config); err != nil {
		t.Fatal(err)
	}
	if s := natstest.ConfigOf(t, js, wire.StreamEvent); s.Sources != nil || s.Metadata["postrider-version"] == "2" {
		t.Errorf("after the upgrade: %+v", s)
	}
	record("after")
	if _, err := js.Publish(natstest.Within(t), key.EventSubject(), []byte("entry")); err != nil {
		t.Fatal(err)
	}
	if n := entries(); n != 2 {
		t.Errorf("the log has %d entries, want the old one and the one that was written", n)
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

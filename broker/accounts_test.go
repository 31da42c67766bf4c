package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/schema"
)

// briefly bounds a request that is to get no answer.
func briefly(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), 300*time.Millisecond)
}

// counts is the number of messages each stream ever took: what was planted,
// overwritten or removed again is seen too.
func counts(t *testing.T, c *broker.Conn) map[string]string {
	t.Helper()
	n := map[string]string{}
	all := c.JS().ListStreams(within(t))
	for s := range all.Info() {
		n[s.Config.Name] = fmt.Sprint(s.State.LastSeq, s.State.Msgs, s.State.NumSubjects)
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestProducerPublishes(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	js, err := jetstream.New(b.Producer(t))
	if err != nil {
		t.Fatal(err)
	}
	first, err := js.Publish(within(t), bulk.SendSubject(), []byte("x"), jetstream.WithMsgID("a"))
	if err != nil || first.Stream != bulk.SendStream() || first.Sequence != 1 || first.Duplicate {
		t.Fatalf("Publish = %+v, %v", first, err)
	}
	again, err := js.Publish(within(t), bulk.SendSubject(), []byte("x"), jetstream.WithMsgID("a"))
	if err != nil || !again.Duplicate || again.Sequence != 1 {
		t.Errorf("the same id again = %+v, %v; want a duplicate of 1", again, err)
	}
	const n = 100
	var acks []jetstream.PubAckFuture
	for i := range n {
		f, err := js.PublishAsync(normal.SendSubject(), []byte("x"), jetstream.WithMsgID(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, f)
	}
	for i, f := range acks {
		select {
		case a := <-f.Ok():
			if a.Sequence != uint64(i+1) {
				t.Errorf("async publish %d has sequence %d", i, a.Sequence)
			}
		case err := <-f.Err():
			t.Errorf("async publish %d: %v", i, err)
		case <-within(t).Done():
			t.Fatalf("async publish %d got no answer", i)
		}
	}
}

func TestProducerCanDoNothingElse(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	line := schema.Line{Lane: normal, ID: "a", Origin: "1-1", Rcpt: schema.All}
	for _, s := range []string{line.DeadSubject(), line.DueSubject(), line.RecordSubject()} {
		if _, err := b.Conn.JS().Publish(within(t), s, []byte("ours")); err != nil {
			t.Fatal(err)
		}
	}
	// The entry of the record is sourced a little later; wait for it.
	awaitLast(t, b.Conn, schema.StreamEvent, line.EventSubject())

	refused := make(chan error, 1000)
	nc := b.Producer(t, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	before := counts(t, b.Conn)

	t.Run("publish elsewhere", func(t *testing.T) {
		subjects := []string{
			line.DueSubject(), line.LaterSubject(), line.RecordSubject(), line.DeadSubject(), line.EventSubject(),
			"mail.send.*", "mail.send.>", "mail.send", "mail.send.normal.x", "mail.>", ">",
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.PURGE.MAIL_DEAD", "$JS.API.STREAM.DELETE.MAIL_SEND_NORMAL",
			"$JS.API.STREAM.MSG.GET.MAIL_SEND_NORMAL", "$JS.API.CONSUMER.MSG.NEXT.MAIL_SEND_NORMAL.fresh",
			"$JS.ACK.MAIL_SEND_NORMAL.fresh.1.1.1.1.0", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "_INBOX.somebody.else",
		}
		for _, s := range subjects {
			if err := nc.Publish(s, []byte("planted")); err != nil && !errors.Is(err, nats.ErrBadSubject) {
				t.Errorf("publish to %s: %v", s, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if r, err := nc.RequestWithContext(ctx, s, nil); err == nil {
				t.Errorf("a request on %s is answered: %s", s, r.Data)
			}
			cancel()
		}
	})

	t.Run("reply subjects", func(t *testing.T) {
		// The server writes its PubAck there: in the producers' own account,
		// where nothing listens.
		for _, reply := range []string{
			line.DueSubject(), line.LaterSubject(), line.RecordSubject(), line.DeadSubject(), line.EventSubject(),
			"$JS.API.STREAM.PURGE.MAIL_DEAD",
		} {
			if err := nc.PublishMsg(&nats.Msg{Subject: normal.SendSubject(), Reply: reply, Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("headers that mean something to the broker", func(t *testing.T) {
		for name, value := range map[string]string{
			"Nats-Rollup": "all", "Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-TTL": "1s", "Nats-Schedule-Target": line.DueSubject(),
		} {
			// Refused or stored as it is, but no more.
			m := &nats.Msg{Subject: bulk.SendSubject(), Header: nats.Header{name: {value}}}
			if _, err := nc.RequestMsgWithContext(within(t), m); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})

	t.Run("subscribe", func(t *testing.T) {
		for _, s := range []string{">", "mail.>", "mail.send.*", normal.SendSubject(), "mail.*.*", "$JS.>", "$SYS.>", "_INBOX_worker.>", "_INBOX_mailq.>", "*.>"} {
			if _, err := nc.SubscribeSync(s); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			awaitRefusal(t, refused, `Subscription to "`+s+`"`)
		}
	})

	t.Run("read workers' answers", func(t *testing.T) {
		sniff, err := nc.SubscribeSync("_INBOX.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Conn.Last(within(t), schema.StreamDead, line.DeadSubject()); err != nil {
			t.Fatal(err)
		}
		// A worker with the usual prefix too.
		key, err := nats.NkeyOptionFromSeed(b.Embedded.OperatorFile())
		if err != nil {
			t.Fatal(err)
		}
		plain, err := nats.Connect(b.Config.URL, key)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		if _, err := plain.RequestWithContext(within(t), "$JS.API.INFO", nil); err != nil {
			t.Fatal(err)
		}
		if m, err := sniff.NextMsg(100 * time.Millisecond); err == nil {
			t.Errorf("a producer reads %s on %s", m.Data, m.Subject)
		}
	})

	// The lanes have taken what was published to them; all else is as it was.
	after := counts(t, b.Conn)
	for _, lane := range b.Lanes {
		delete(before, lane.SendStream())
		delete(after, lane.SendStream())
	}
	for name := range after {
		if before[name] != after[name] {
			t.Errorf("stream %s went from %s to %s", name, before[name], after[name])
		}
	}
	if m, err := b.Conn.Last(within(t), schema.StreamDead, line.DeadSubject()); err != nil || string(m.Data) != "ours" {
		t.Errorf("the dead letter is %v, %v", m, err)
	}
}

// awaitRefusal waits for the server's word on a subject.
func awaitRefusal(t *testing.T, refused <-chan error, what string) {
	t.Helper()
	for {
		select {
		case err := <-refused:
			if strings.Contains(err.Error(), what) {
				return
			}
		case <-within(t).Done():
			t.Fatalf("no permissions violation for %s", what)
		}
	}
}

// awaitLast waits for a message that the broker itself puts into a stream.
func awaitLast(t *testing.T, c *broker.Conn, stream, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	q, err := c.JS().OrderedConsumer(within(t), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverLastPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Next(jetstream.FetchMaxWait(20 * time.Second)); err != nil {
		t.Fatalf("nothing arrives on %s: %v", subject, err)
	}
	m, err := c.Last(within(t), stream, subject)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

package settle_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/schema"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// TestStatusHeader: a producer's header that looks like the broker's own word
// neither keeps its mail from being taken nor makes a taker wait or end.
func TestStatusHeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	nc := b.Broker.Producer(t)
	for i, status := range []string{"100", "408", "409", "400", "503", "shipped"} {
		m := &nats.Msg{
			Subject: lane.SendSubject(), Header: nats.Header{"Status": {status}, "Description": {"Consumer Deleted"}},
			Data: fmt.Appendf(nil, `{"id":"s%d","from":"a@example.com","to":["ann@example.net"],"text":"hi"}`, i),
		}
		if _, err := nc.RequestMsgWithContext(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	b.Publish("neighbour", "ann@example.net")
	began := time.Now()
	b.Work(nil)
	b.Settled()
	if took := time.Since(began); took > 11*time.Second {
		t.Errorf("settled only after %s", took)
	}
	for i := range 6 {
		b.Accepted(fmt.Sprintf("s%d", i), map[string]int{"ann@example.net": 1})
	}
	b.Accepted("neighbour", map[string]int{"ann@example.net": 1})
}

// TestFakeReplies: wherever a producer has its acknowledgements sent, its mail
// goes out once.
func TestFakeReplies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	nc := b.Broker.Producer(t)
	l := wire.Key{Lane: lane, ID: "x", Origin: "1-1", Recipient: wire.All}
	replies := []string{
		"", lane.SendSubject(), "mail.send.nolane", l.CopySubject(wire.CopyDue), l.RecordSubject(), l.DeadSubject(), "$JS.API.CONSUMER.MSG.NEXT." + lane.SendStream() + ".fresh",
		"$JS.API.STREAM.PURGE." + lane.SendStream(), "_INBOX_worker.x", "_INBOX.>", "a..b", "*",
	}
	want := 0
	for i, reply := range replies {
		body := fmt.Appendf(nil, `{"id":"r%d","from":"a@example.com","to":["ann@example.net"],"text":"hi"}`, i)
		if err := nc.PublishMsg(&nats.Msg{Subject: lane.SendSubject(), Reply: reply, Data: body}); err == nil {
			want++
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	b.Eventually("all are stored", func() bool { return b.Queued() == uint64(want) })
	b.Work(nil)
	b.Settled()
	for key, n := range b.Relay.Accepted() {
		if n != 1 {
			t.Errorf("%s was sent %d times", key, n)
		}
	}
	if n := len(b.Relay.Accepted()); n != want || want < len(replies)-3 {
		t.Errorf("%d mails were sent, want %d of %d", n, want, len(replies))
	}
}

// TestTwoMsgIDs: of two spellings of Nats-Msg-Id every reader takes the same, so
// that a redelivery finds the record of the first.
func TestTwoMsgIDs(t *testing.T) {
	t.Parallel()
	h := nats.Header{"nats-msg-id": {"B"}, "Nats-Msg-Id": {"A"}, "NATS-MSG-ID": {"C"}}
	for range 50 {
		if id := schema.MsgID(h); id != "C" {
			t.Fatalf("the id is %q", id)
		}
	}
}

// TestRecordTooLarge: a record that exceeds what the broker takes is shortened,
// never given up: without one a mail is sent again and again.
func TestRecordTooLarge(t *testing.T) {
	t.Parallel()
	wb.Reserve(t)
	cfg := broker.DefaultConfig()
	cfg.URL = natstest.StartServer(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	cfg.DataDir, cfg.AckWait = t.TempDir(), 2*time.Second
	b := &bench{wb.On(t, func(t testing.TB, role broker.Role) *broker.Conn { return natstest.Dial(t, cfg, role) })}
	if _, err := broker.Provision(t.Context(), b.Conn, []wire.Lane{lane}, cfg); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat(`"`, mail.MaxReply) // two bytes each in JSON
	b.Relay.Words = func(address string) string { return address[50:56] + long }
	to := make([]string, 1000)
	want := map[string]int{}
	for i := range to {
		to[i] = fmt.Sprintf("%s%d@%s.%s.example", strings.Repeat("r", 50), i, strings.Repeat("a", 60), strings.Repeat("b", 60))
		want[to[i]] = 1
	}
	b.Settle.RecipientsPerTransaction = len(to)
	b.Publish("m", to...)
	b.Work(nil)
	b.Settled()
	b.Accepted("m", want)
}

// TestFlapping: a connection that is lost in each transaction makes deliveries
// without end. No worker died of the message, and it is not buried for it.
func TestFlapping(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.Worker(nil)
	conn := w.Conn
	var flaps atomic.Int64
	b.Relay.Hold = func(mail.Message) {
		if flaps.Add(1) <= settle.CrashLoop+4 {
			before := conn.Epoch() // with two in flight one loss may serve both
			_ = conn.NC().ForceReconnect()
			b.Eventually("the connection is lost", func() bool { return conn.Epoch() > before })
		}
	}
	b.Run(b.Make(w), nil)
	b.Publish("m", "ann@example.net")
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead: %+v", dead[0].DeadLetter)
	}
	if flaps.Load() <= settle.CrashLoop+4 {
		t.Errorf("the connection was lost %d times only", flaps.Load())
	}
}

// TestDeadLetterByIDThatLooksLikeAnOrigin is found by either.
func TestDeadLetterByIDThatLooksLikeAnOrigin(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	const id = "20261125123456789-42"
	b.Publish(id, "550@example.net")
	b.Settled()
	for _, name := range []string{id, b.Dead()[0].Key.Origin} {
		n := 0
		for _, err := range b.Graves.ByID(t.Context(), name) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%d dead letters by %s, want 1", n, name)
		}
	}
}

// TestUnreadableTextIsRecorded: text that is not UTF-8 may reach a record only by
// a mistake of ours, and even then the record has to be written.
func TestUnreadableTextIsRecorded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.Read()
	rec := ghostRecord(h)
	rec.Subject = "\xff\xfe"
	if _, err := w.Journal.Set(t.Context(), rec.Key(), rec, 0, false); err != nil {
		t.Error(err)
	}
	if got := b.record(h.Key()); got == nil || got.Subject == "" {
		t.Errorf("record: %+v", got)
	}
}

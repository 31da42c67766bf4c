package k8s

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

// connect connects as a user of the accounts; refused are the server's words.
func (l *live) connect(t *testing.T, user, inbox string) (nc *nats.Conn, refused chan error) {
	t.Helper()
	refused = make(chan error, 1000)
	env := l.as(user)
	nc, err := nats.Connect(l.url, nats.UserInfo(user, env["NATS_PASSWORD"]), nats.CustomInboxPrefix(inbox),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, refused
}

// streams is what each stream ever took and holds: what was planted, overwritten
// or removed is seen.
func (l *live) streams(t *testing.T) map[string]string {
	t.Helper()
	nc, _ := l.connect(t, "worker", "_INBOX_worker")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]string{}
	all := js.ListStreams(t.Context())
	for s := range all.Info() {
		n[s.Config.Name] = fmt.Sprint(s.State.LastSeq, s.State.Msgs, s.State.NumSubjects, s.Config.Replicas)
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (l *live) threeReplicas(t *testing.T) {
	all := l.streams(t)
	if len(all) != 10 {
		t.Errorf("%d streams", len(all))
	}
	for name, s := range all {
		if !strings.HasSuffix(s, " 3") {
			t.Errorf("%s: %s replicas", name, s)
		}
	}
}

const (
	key          = "normal.x.1-1.all" // as a record's subject ends
	copySubject  = "mail.copy.normal.due.x.1-1.all"
	laterSubject = "mail.copy.normal.later.x.1-1.all"
)

// elsewhere is what neither producers nor operators may publish to.
var elsewhere = []string{
	copySubject, "$KV.POSTRIDER.worker.x", "$JS.API.STREAM.MSG.DELETE.KV_POSTRIDER", "$JS.API.STREAM.PURGE.KV_POSTRIDER", "$JS.API.STREAM.PURGE.MAIL_DEAD", "$JS.API.STREAM.DELETE.MAIL_SEND_NORMAL", "$JS.API.STREAM.UPDATE.MAIL_DEAD",
	"$JS.API.STREAM.CREATE.MINE", "$JS.API.CONSUMER.CREATE.MAIL_SEND_NORMAL.mine.mail.send.normal", "$JS.API.CONSUMER.DELETE.MAIL_SEND_NORMAL.fresh",
	"$JS.API.CONSUMER.MSG.NEXT.MAIL_SEND_NORMAL.fresh", "$JS.ACK.MAIL_SEND_NORMAL.fresh.1.1.1.1.0", "$SYS.REQ.SERVER.PING", "_INBOX_worker.x",
}

// operatorCannot: an operator takes no mail from a lane and changes no stream.
func (l *live) operatorCannot(t *testing.T) {
	before := l.streams(t)
	nc, refused := l.connect(t, "operator", "_INBOX_operator")
	for _, s := range append([]string{"mail.send.normal"}, elsewhere...) {
		mayNotPublish(t, nc, refused, s)
	}
	for _, s := range []string{">", "mail.>", "_INBOX_worker.>", "_INBOX.>"} {
		mayNotSubscribe(t, nc, refused, s)
	}
	unchanged(t, before, l.streams(t))
}

// producerCannot: a producer publishes to lanes, and nothing else it tries does
// anything: broker/accounts_test.go tries the same on the embedded broker.
func (l *live) producerCannot(t *testing.T) {
	nc, refused := l.connect(t, "producer", "_INBOX")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	before := l.streams(t)
	for _, again := range []bool{false, true} {
		ack, err := js.Publish(t.Context(), "mail.send.bulk", []byte(`{"from":"a@example.com","to":["b@example.net"],"text":"hi"}`), jetstream.WithMsgID("once"))
		if err != nil || ack.Stream != "MAIL_SEND_BULK" || ack.Duplicate != again {
			t.Fatalf("Publish = %+v, %v", ack, err)
		}
	}
	for _, s := range append([]string{
		laterSubject, "mail.record." + key, "mail.dead." + key, "mail.event.normal.7", "mail.send.normal.x", "mail.send",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.MSG.GET.MAIL_SEND_NORMAL", "$JS.API.DIRECT.GET.MAIL_SEND_NORMAL", "$SYS.REQ.USER.INFO", "_INBOX.somebody.else",
		"$JS.API.DIRECT.GET.KV_POSTRIDER", "$JS.API.DIRECT.GET.KV_POSTRIDER.$KV.POSTRIDER.worker.x",
	}, elsewhere...) {
		mayNotPublish(t, nc, refused, s)
	}
	// The server would write its acknowledgement there.
	for _, reply := range []string{copySubject, laterSubject, "mail.record." + key, "mail.dead." + key, "mail.event.normal.7", "$JS.API.STREAM.PURGE.MAIL_DEAD"} {
		if err := nc.PublishMsg(&nats.Msg{Subject: "mail.send.urgent", Reply: reply, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{">", "mail.>", "mail.send.*", "$JS.>", "$SYS.>", "_INBOX_worker.>", "_INBOX_operator.>"} {
		mayNotSubscribe(t, nc, refused, s)
	}
	l.sniff(t, nc)

	// The six are bad envelopes and are buried; nothing else is stored.
	testrun.Eventually(t, "the six messages with a reply subject are buried", time.Minute, func() bool { return len(l.dead(t)) >= 6 })
	for _, id := range l.dead(t) {
		if id == "x" {
			t.Error("a dead letter was planted")
		}
	}
	after := l.streams(t)
	for name := range after {
		if strings.HasPrefix(name, "MAIL_LATER") && before[name] != after[name] {
			t.Errorf("stream %s went from %s to %s", name, before[name], after[name])
		}
	}
	for _, name := range []string{wire.StreamRecord, wire.StreamDead} {
		if m := l.last(t, name, "mail.*.*.x.>"); m != "" {
			t.Errorf("%s holds %s", name, m)
		}
	}
}

// sniff: what the broker answers workers is not to be heard.
func (l *live) sniff(t *testing.T, nc *nats.Conn) {
	t.Helper()
	sub, err := nc.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if m := l.last(t, wire.StreamDead, "mail.dead.>"); m == "" {
		t.Error("there is no dead letter to read")
	}
	if m, err := sub.NextMsg(200 * time.Millisecond); err == nil {
		t.Errorf("a producer reads %s on %s", m.Data, m.Subject)
	}
}

// last is the subject of the last message of a stream on a subject, as a worker
// reads it; empty where there is none.
func (l *live) last(t *testing.T, stream, subject string) string {
	t.Helper()
	nc, _ := l.connect(t, "worker", "_INBOX_worker")
	m, err := nc.RequestWithContext(t.Context(), "$JS.API.STREAM.MSG.GET."+stream, fmt.Appendf(nil, `{"last_by_subj":%q}`, subject))
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Message struct{ Subject string } }
	if err := json.Unmarshal(m.Data, &r); err != nil {
		t.Fatal(err)
	}
	return r.Message.Subject
}

// dead are the ids of the bad envelopes among the dead letters.
func (l *live) dead(t *testing.T) []string {
	t.Helper()
	out, _, _ := run(t, l.as("operator"), "postrider", "dead", "list", "--reason", "bad-envelope")
	var ids []string
	for s := range strings.Lines(out) {
		ids = append(ids, strings.Fields(s)[0])
	}
	return ids
}

func unchanged(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name := range after {
		if before[name] != after[name] {
			t.Errorf("stream %s went from %s to %s", name, before[name], after[name])
		}
	}
}

func mayNotPublish(t *testing.T, nc *nats.Conn, refused <-chan error, subject string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r, err := nc.RequestWithContext(ctx, subject, nil); err == nil && !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a request on %s is answered: %s", subject, r.Data)
	}
	isRefused(t, refused, `Publish to "`+subject+`"`)
}

func mayNotSubscribe(t *testing.T, nc *nats.Conn, refused <-chan error, subject string) {
	t.Helper()
	if _, err := nc.SubscribeSync(subject); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	isRefused(t, refused, `Subscription to "`+subject+`"`)
}

// isRefused waits for the server's word on a subject.
func isRefused(t *testing.T, refused <-chan error, what string) {
	t.Helper()
	for {
		select {
		case err := <-refused:
			if strings.Contains(err.Error(), what) {
				return
			}
		case <-time.After(20 * time.Second):
			t.Errorf("no permissions violation for %s", what)
			return
		}
	}
}

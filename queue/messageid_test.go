package queue_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestOtherNames: a message is found by its Message-ID and by the queue id of the relay,
// wherever it is.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	own := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"from":"a@example.com","to":["b@example.net"],"text":"hi","headers":{"message-id":"<%s@own.test>"}}`, id, id)
	}
	b.publish(lane, "", own("waits"))
	raw := base64.StdEncoding.EncodeToString([]byte("Message-Id:\r\n <raw@own.test>\r\nFrom: a@b\r\nTo: c@d\r\n\r\nhi\r\n"))
	b.publish(lane, "", `{"id":"raw","raw":"`+raw+`"}`)
	origins := map[string]string{}
	for i, id := range []string{"scheduled", "dead", "sent"} {
		origins[id] = wire.Origin(time.Now(), uint64(1000+i))
	}
	c := wire.Copy{Key: wire.Key{Lane: lane, ID: "scheduled", Origin: origins["scheduled"], Recipient: wire.All}, Generation: 1, Enqueued: time.Now()}
	m := nats.NewMsg(c.Key.CopySubject(wire.CopyLater))
	m.Header, m.Data = c.Headers(nil), []byte(own("scheduled"))
	wire.Schedule(m.Header, time.Now().Add(time.Hour), c.Key)
	_, _, err := b.store.Put(t.Context(), m, c.Key.CopySubject(wire.CopyAny), 0, c.Generation)
	b.must(err)
	c.Key.ID, c.Key.Origin = "dead", origins["dead"]
	j := journal.New(b.store)
	_, err = deadletter.New(b.store, j, b.broker.Conn.Now).Bury(t.Context(), &wire.DeadLetter{Copy: c, Reason: mail.ReasonFailed, Body: []byte(own("dead"))})
	b.must(err)
	r := &wire.Record{
		V: 1, ID: "sent", Origin: origins["sent"], Lane: lane, Recipient: wire.All, Event: wire.EventDelivered, At: b.broker.Conn.Now(), MessageID: "sent@own.test",
		Recipients: []wire.RecipientRecord{{Address: "b@example.net", State: wire.StateDelivered, QueueID: "4Zx2Y31q9z"}},
	}
	_, err = j.Set(t.Context(), r.Key(), r, 0, false)
	b.must(err)
	testrun.Eventually(t, "the log has the record", natstest.Timeout, func() bool { return b.traced("4Zx2Y31q9z") == "sent delivered; " })
	for name, want := range map[string]string{
		"<waits@own.test>":                             "waits waits; ",
		"waits@own.test":                               "waits waits; ",
		"<raw@own.test>":                               "raw waits; ",
		"<scheduled@own.test>":                         "scheduled waits; ",
		"<dead@own.test>":                              "dead dead; ",
		"<" + origins["sent"] + ".sent@example.com>":   "sent delivered; ",
		origins["scheduled"] + ".x@example.com":        "scheduled waits; ",
		"<sent@own.test>":                              "sent delivered; ",
		"sent@own.test":                                "sent delivered; ",
		"<ent@own.test>":                               "",
		"4Zx2Y31q9":                                    "",
		"<" + wire.Origin(time.Now(), 5) + ".x@y.com>": "",
	} {
		if got := b.traced(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	x := &bars{}
	found, err := b.Traces(t.Context(), "<nosuch@own.test>", x.watch)
	b.must(err)
	said := strings.Join(found.Searched, "; ")
	for _, want := range []string{"by id", "what waits in the lanes (2 messages) by id and Message-ID", "the Message-IDs of scheduled mail and dead letters", "Message-IDs in the log (1 entry)", "queue ids in the log (1 entry)"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing: %s", want, said)
		}
	}
	if x.ends != len(x.what) || x.steps != 6 {
		t.Errorf("progress: %+v", x)
	}
}

// TestNoSuchLane: what publish could have printed, of a lane that is not there, is not
// searched for in everything that waits.
func TestNoSuchLane(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	const many = 2001
	for i := range many {
		_, err := b.broker.Conn.JS().PublishAsync(lane.SendSubject(), []byte(envelope(fmt.Sprintf("m%d", i))))
		b.must(err)
	}
	select {
	case <-b.broker.Conn.JS().PublishAsyncComplete():
	case <-natstest.Within(t).Done():
		t.Fatal("not published")
	}
	for name, want := range map[string]string{"nolane/5": "there is no lane nolane among normal", "normal/99999": "lane normal and its log for message 99999"} {
		x := &bars{}
		found, err := b.Traces(t.Context(), name, x.watch)
		b.must(err)
		if len(found.Messages) != 0 || found.Unsearched != many || x.steps != 0 || !strings.Contains(strings.Join(found.Searched, "; "), want) {
			t.Errorf("%s: %+v, %+v", name, found, x)
		}
	}
}

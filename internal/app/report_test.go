package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// settledRecord is of a mail to three: delivered, deferred and failed.
func settledRecord() *wire.Record {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tx := mail.Transaction{At: at, Relay: "r:25", Session: "s1", Use: 3, Connect: 7 * time.Millisecond, Data: 8 * time.Millisecond, Dot: 9 * time.Millisecond, Outcomes: []mail.Outcome{
		{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Reply: "ok"},
		{Class: mail.Failed, Stage: mail.StageRcpt, Code: 550, Enhanced: "5.1.1", Reply: "nobody"},
		{Class: mail.Deferred, Stage: mail.StageRcpt, Code: 450, Enhanced: "4.2.1", Reply: "later"},
	}}
	to := []mail.Recipient{{Index: 0, Address: "a@x.test"}, {Index: 1, Address: "b@x.test"}, {Index: 2, Address: "c@x.test"}}
	return &wire.Record{
		ID: "m 1", Lane: "normal", Recipient: wire.All, Event: wire.EventFailed, At: at.Add(time.Second), Enqueued: at, Due: at.Add(time.Minute), Counted: 1,
		Attempts: []wire.Attempt{wire.NewAttempt(1, true, to, tx)},
		Recipients: []wire.RecipientRecord{
			{Address: "a@x.test", State: wire.StateDelivered}, {Address: "b@x.test", Index: 1, State: wire.StateDead, Reason: mail.ReasonFailed, Code: 550},
			{Address: "c@x.test", Index: 2, State: wire.StateScheduled, Code: 450},
		},
	}
}

func reporterFor(s *Settings, out io.Writer, text bool) *reporter {
	return &reporter{w: &Worker{set: s, log: s.Process.Logger(text, out, io.Discard)}, out: out, text: text}
}

// TestLogLine: one line a message, with the fields that dashboards go by, and
// of three replies the worst.
func TestLogLine(t *testing.T) {
	t.Parallel()
	s := &Settings{Process: Process{LogLevel: "info", LogMail: "all", LogFormat: "json"}}
	var out bytes.Buffer
	reporterFor(s, &out, false).settled(settledRecord(), &settle.Delivery{Sequence: 17, Times: 2})
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%v: %s", err, out.String())
	}
	for name, want := range map[string]any{
		"level": "WARN", "msg": "failed", "id": "m 1", "lane": "normal", "stream_seq": 17, "delivery": 2, "attempt": 1, "relay": "r:25",
		"session": "s1", "use": 3, "outcome": "mixed", "code": 550, "enhanced": "5.1.1", "reply": "nobody", "queue_ms": 1000,
		"connect_ms": 7, "data_ms": 8, "dot_ms": 9, "next_attempt": "2030-01-02T03:05:05Z",
	} {
		if fmt.Sprint(got[name]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if got["time"] == nil {
		t.Error("no time")
	}
}

// TestDead: an envelope that cannot be read is as dead as what a relay refuses, and
// has the advice that fits it.
func TestDead(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := &Settings{Process: Process{LogLevel: "info", LogMail: "all", LogFormat: "text"}}
	var out bytes.Buffer
	r := reporterFor(s, &out, true)
	r.w.conn = b.Conn
	r.settled(&wire.Record{ID: "m1", Event: wire.EventFailed, Reason: mail.ReasonBadEnvelope, Error: "sbuject: unknown field"}, nil)
	read := &wire.Record{ID: "m2", Event: wire.EventFailed, Reason: mail.ReasonBadEnvelope, Error: "sbuject: unknown field", Together: wire.StateDead}
	for _, a := range []string{"a@x.test", "b@x.test"} {
		read.Recipients = append(read.Recipients, wire.RecipientRecord{Address: a, State: wire.StateDead, Reason: mail.ReasonBadEnvelope})
	}
	r.settled(read, nil)
	refused := settledRecord()
	refused.Recipients = refused.Recipients[1:2]
	r.settled(refused, nil)
	post := "NATS_URL=" + b.Conn.URL() + " " + cli.Typed("postrider")
	want := "dead       m1, bad-envelope: sbuject: unknown field\n           " + queue.Remedy(post, mail.ReasonBadEnvelope, "m1") +
		"\ndead       m2 to a@x.test, b@x.test, bad-envelope: sbuject: unknown field\n           " + queue.Remedy(post, mail.ReasonBadEnvelope, "m2") +
		"\ndead       m 1 to b@x.test, failed: 550\n           " + queue.Remedy(post, mail.ReasonFailed, "m 1") + "\n"
	stamped := regexp.MustCompile(`(?m)^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(Z|[+-][0-9:]{5}) `)
	if got := stamped.ReplaceAllString(out.String(), ""); got != want || len(stamped.FindAllString(out.String(), -1)) != 3 {
		t.Errorf("%s\nwant, each with its time,\n%s", out.String(), want)
	}
}

// TestTextHasTheTime with its zone, in the lines about mail and in those of the worker.
func TestTextHasTheTime(t *testing.T) {
	t.Parallel()
	s := &Settings{Process: Process{LogLevel: "info", LogMail: "all", LogFormat: "text"}}
	var out, errs bytes.Buffer
	w := &Worker{set: s, log: s.Process.Logger(true, &out, &errs)}
	r := &reporter{w: w, out: &out, text: true}
	w.log.Warn("waits")
	rec := settledRecord()
	rec.Recipients = rec.Recipients[2:]
	r.settled(rec, nil)
	zone := time.Now().Format("Z07:00")
	if got := errs.String(); !strings.HasPrefix(got, "time=2") || !strings.Contains(got, zone+" level=WARN msg=waits") {
		t.Errorf("the worker: %s", got)
	}
	if got := out.String(); !strings.Contains(got[:30], "T") || !strings.Contains(got, zone+" deferred   m 1 to c@x.test, next attempt at "+queue.Clock(rec.Due)+": 450\n") {
		t.Errorf("mail: %s", got)
	}
}

func TestFailuresOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mail  string
		event wire.Event
		lines int
	}{
		{"all", wire.EventDelivered, 1}, {"failures", wire.EventDelivered, 0}, {"failures", wire.EventScheduled, 0},
		{"failures", wire.EventDeferred, 1}, {"failures", wire.EventFailed, 1}, {"failures", wire.EventRequeued, 1},
	} {
		s := &Settings{Process: Process{LogLevel: "info", LogMail: c.mail, LogFormat: "json"}}
		var out bytes.Buffer
		rec := settledRecord()
		rec.Event = c.event
		reporterFor(s, &out, false).settled(rec, &settle.Delivery{})
		if n := strings.Count(out.String(), "\n"); n != c.lines {
			t.Errorf("%s, %s: %d lines, want %d", c.mail, c.event, n, c.lines)
		}
	}
}

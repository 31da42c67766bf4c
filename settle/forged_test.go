package settle_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// forgery is what somebody with an operator's credential puts where workers
// look for copies of their own.
type forgery struct {
	what string
	// subject, if set, replaces the key's own.
	subject string
	// change makes the headers of a good copy bad ones.
	change func(h nats.Header)
	// body, if set, replaces a good one.
	body *string
	// says is in the dead letter's sentence; empty: the copy is sent.
	says string
}

func set(name string, values ...string) func(nats.Header) {
	return func(h nats.Header) { h[name] = values }
}

func forgeries() []forgery {
	keep := func(nats.Header) {}
	all := []forgery{
		{what: "no headers", change: func(h nats.Header) { clear(h) }, says: "Postrider-Id"},
		{what: "a status", change: set("Status", "409", "100")},
		{what: "no body", change: keep, body: new(""), says: "the body is empty"},
		{what: "a body that is none", change: keep, body: new("\x00\xff"), says: "invalid JSON"},
		{what: "another's id", change: set(wire.HeaderID, "other"), says: "subject"},
		{what: "another's origin", change: set(wire.HeaderOrigin, "1-1"), says: "subject"},
		{what: "an origin with dots", change: set(wire.HeaderOrigin, "1.1"), says: "not an origin"},
		{what: "an origin with wildcards", change: set(wire.HeaderOrigin, ">"), says: "not an origin"},
		{what: "an origin of two words", change: set(wire.HeaderOrigin, "1-1 2"), says: "not an origin"},
		{what: "a recipient of two words", change: set(wire.HeaderRecipient, "0 5"), says: "index"},
		{what: "a recipient that is none", subject: "mail.copy.normal.due.forged.1-1.foo", change: set(wire.HeaderRecipient, "foo"), says: "foo"},
		{what: "a recipient that is not there", subject: "mail.copy.normal.due.forged.1-2.7", change: set(wire.HeaderRecipient, "7"), says: "recipient 7"},
		{what: "a recipient below zero", subject: "mail.copy.normal.due.forged.1-3.-1", change: set(wire.HeaderRecipient, "-1"), says: "-1"},
		{what: "a recipient with a plus", subject: "mail.copy.normal.due.forged.1-4.+0", change: set(wire.HeaderRecipient, "+0"), says: "+0"},
		{what: "a log of a thousand million", change: set(wire.HeaderLog, `[{"n":1,"outcomes":[{"recipients":"0-999999999"}]}]`), says: wire.HeaderLog},
		{what: "a log that is deep", change: set(wire.HeaderLog, strings.Repeat("[", 40_000)), says: wire.HeaderLog},
		{what: "a subject that is too short", subject: "mail.copy.normal.due.x", change: keep, says: "subject"},
		{what: "a subject that is too long", subject: "mail.copy.normal.due.a.b.c.d.e.f", change: keep, says: "subject"},
		{what: "a subject with a hostile token", subject: "mail.copy.normal.due.a.$JS.all", change: keep, says: "subject"},
	}
	for _, name := range []string{wire.HeaderID, wire.HeaderOrigin, wire.HeaderRecipient, wire.HeaderGeneration, wire.HeaderAttempts, wire.HeaderEnqueued} {
		all = append(all,
			forgery{what: "no " + name, change: func(h nats.Header) { delete(h, name) }, says: name},
			forgery{what: "twice " + name, change: func(h nats.Header) { h[name] = append(h[name], h[name]...) }, says: name},
			forgery{what: "in lower case " + name, change: func(h nats.Header) { h[strings.ToLower(name)] = h[name]; delete(h, name) }, says: name})
	}
	for _, name := range []string{wire.HeaderGeneration, wire.HeaderAttempts, wire.HeaderDeadSeq, wire.HeaderReplays} {
		for _, v := range []string{"", "-1", "x", "1e3", "99999999999999999999"} {
			all = append(all, forgery{what: name + " " + v, change: set(name, v), says: name})
		}
	}
	for _, name := range []string{wire.HeaderGeneration, wire.HeaderAttempts} {
		all = append(all, forgery{what: "the largest " + name, change: set(name, "9223372036854775807"), says: name})
	}
	for _, v := range []string{"", "now", "10000-01-01T00:00:00Z", "2026-01-01"} {
		all = append(all, forgery{what: "enqueued " + v, change: set(wire.HeaderEnqueued, v), says: wire.HeaderEnqueued})
	}
	return all
}

// TestForgedCopies: what is no copy of ours, or one whose headers and subject
// do not agree, is buried with its bytes. It breaks no worker, keeps no slot
// taken, is not sent, and its neighbours are.
func TestForgedCopies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	all := forgeries()
	bodies := make([]string, len(all))
	for i, f := range all {
		l := wire.Key{Lane: lane, ID: fmt.Sprintf("forged-%d", i), Origin: fmt.Sprintf("17-%d", i), Recipient: wire.All}
		m := nats.NewMsg(l.CopySubject(wire.CopyDue))
		if f.subject != "" {
			m.Subject = f.subject
			if named, err := wire.ParseKey(f.subject); err == nil {
				l = named
			}
		}
		maps.Copy(m.Header, wire.Copy{Key: l, Generation: 1, Attempts: 1, Enqueued: time.Now()}.Headers(nil))
		f.change(m.Header)
		bodies[i] = fmt.Sprintf(`{"id":"sent-%d","from":"a@example.com","to":["bob@example.net"],"text":"hi"}`, i)
		if f.body != nil {
			bodies[i] = *f.body
		}
		m.Data = []byte(bodies[i])
		if _, err := b.Conn.JS().PublishMsg(t.Context(), m); err != nil {
			t.Fatalf("%s: %v", f.what, err)
		}
		b.Publish(fmt.Sprintf("neighbour-%d", i), "ann@example.net")
	}
	b.Settled()
	dead := map[string]string{}
	for _, l := range b.Dead() {
		if l.Reason != mail.ReasonBadEnvelope {
			t.Errorf("%s: buried as %s", l.Body, l.Reason)
		}
		dead[string(l.Body)] = l.Error
	}
	for i, f := range all {
		sent := 0
		if f.says == "" {
			sent = 1
		}
		// A copy is named by its headers.
		b.Accepted(fmt.Sprintf("forged-%d", i), map[string]int{"bob@example.net": sent})
		b.Accepted(fmt.Sprintf("neighbour-%d", i), map[string]int{"ann@example.net": 1})
		if says, dead := dead[bodies[i]]; dead != (f.says != "") || !strings.Contains(says, f.says) {
			t.Errorf("%s: dead %v: %q, want %q", f.what, dead, says, f.says)
		}
	}
	for key := range b.Relay.Accepted() {
		if !strings.HasPrefix(key, "forged-") && !strings.HasPrefix(key, "neighbour-") {
			t.Errorf("%s was sent", key)
		}
	}
}

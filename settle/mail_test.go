package settle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/smtp"
)

// workWith runs a worker whose relay is a real one.
func (b *bench) workWith(opts ...smtptest.Option) *smtptest.Server {
	b.T.Helper()
	server := smtptest.New(b.T, opts...)
	b.WorkAt(b.relayAt(server))
	return server
}

// relayAt sends to that server.
func (b *bench) relayAt(server *smtptest.Server) wb.RelayAt {
	b.T.Helper()
	cfg := smtp.DefaultConfig()
	cfg.URL = server.URL()
	relay, err := smtp.New(cfg, discard(), nil)
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { _ = relay.Close(b.T.Context()) })
	return relay
}

// produce publishes as a plain NATS client does, and waits for the PubAck.
func (b *bench) produce(nc *nats.Conn, header nats.Header, body []byte) {
	b.T.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		b.T.Fatal(err)
	}
	if _, err := js.PublishMsg(b.T.Context(), &nats.Msg{Subject: lane.SendSubject(), Header: header, Data: body}); err != nil {
		b.T.Fatal(err)
	}
}

// TestMailsArriveAsTheyWere at the first attempt and at the third: mails of
// common mailers, published whole by a plain client, byte for byte but for Bcc,
// line ends, and a Date and Message-ID that they lack.
func TestMailsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.workWith(smtptest.ByAddress())
	nc := b.Broker.Producer(t)
	files, err := filepath.Glob("../compose/testdata/raw/*.eml")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	want := map[string][]byte{}
	for i, file := range files {
		mail, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sender := fmt.Sprintf("sender-%d@example.com", i)
		if want[sender], err = os.ReadFile(strings.TrimSuffix(file, ".eml") + ".sent"); err != nil {
			t.Fatal(err)
		}
		b.produce(nc, nats.Header{
			"Content-Type": {"message/rfc822"}, "Mail-From": {sender}, "Mail-To": {"ann@example.net", "451x2@example.net"},
			"Nats-Expected-Stream": {lane.SendStream()}, "X-Own": {"kept"}, // none of the queue's business
		}, mail)
	}
	b.Settled()
	said := transcripts(server)
	for sender, mail := range want {
		asks := regexp.MustCompile(`C: MAIL FROM:<` + sender + `>(.*)\r\n`).FindStringSubmatch(said)
		eight := bytes.ContainsFunc(mail, func(r rune) bool { return r >= 0x80 })
		utf8 := bytes.Contains(mail, []byte("jörg@bücher"))
		if asks == nil || strings.Contains(asks[1], "BODY=8BITMIME") != eight || strings.Contains(asks[1], "SMTPUTF8") != utf8 {
			t.Errorf("%s: the relay was asked for %q; eight bits %v, UTF-8 %v", sender, asks, eight, utf8)
		}
		got := received(server, sender)
		for _, at := range []string{"ann@example.net", "451x2@example.net"} {
			if arrived := added.ReplaceAll(got[at], []byte("$1")); !bytes.Equal(arrived, added.ReplaceAll(mail, []byte("$1"))) {
				t.Errorf("%s at %s:\n%q, want\n%q", sender, at, got[at], mail)
			}
		}
		if !bytes.Equal(got["ann@example.net"], got["451x2@example.net"]) {
			t.Errorf("%s: the third attempt sent other bytes", sender)
		}
	}
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %v", dead[0].Error)
	}
}

// added is a Date and a Message-ID that were made from the origin, which differs each
// time. Its domain is kept.
var added = regexp.MustCompile(`Date: [^\r]*\r\nMessage-ID: <[0-9]{19}-[0-9]+(@[^>]+>\r\n)`)

// transcripts are those of all sessions.
func transcripts(s *smtptest.Server) string {
	var all strings.Builder
	for n := range s.Sessions() {
		all.WriteString(s.Transcript(n + 1))
	}
	return all.String()
}

// received is what the relay got of a sender, by recipient.
func received(s *smtptest.Server, sender string) map[string][]byte {
	got := map[string][]byte{}
	for _, m := range s.Messages() {
		if m.From == sender {
			for _, r := range m.Rcpts {
				got[r] = m.Data
			}
		}
	}
	return got
}

// TestComposedMailIsTheSameAtTheThirdAttempt, with all that is made on the way:
// Date, Message-ID, boundaries.
func TestComposedMailIsTheSameAtTheThirdAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.workWith(smtptest.ByAddress())
	files, err := filepath.Glob("../compose/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	nc := b.Broker.Producer(t)
	for i, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf(`{"envelope":{"mail_from":"sender-%d@example.com","rcpt_to":["ann@example.net","451x2@example.net"]},`, i)
		body = regexp.MustCompile(`"envelope": \{[^}]*\},?`).ReplaceAll(body, nil)
		b.produce(nc, nil, append([]byte(path), bytes.TrimPrefix(bytes.TrimSpace(body), []byte("{"))...))
	}
	b.Settled()
	for i, file := range files {
		got := received(server, fmt.Sprintf("sender-%d@example.com", i))
		if first, third := got["ann@example.net"], got["451x2@example.net"]; len(first) == 0 || !bytes.Equal(first, third) {
			t.Errorf("%s: first\n%s\nthird\n%s", file, first, third)
		}
	}
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %v", dead[0].Error)
	}
}

// hostile is what a producer sends by mistake or on purpose, and what its dead
// dead letter says.
type hostile struct {
	header nats.Header
	body   string
	want   string
	reason mail.Reason
}

func hostileMessages() []hostile {
	const good = `{"from":"a@example.com","to":["b@example.net"],"text":"x"}`
	with := func(more string) string { return strings.TrimSuffix(good, "}") + "," + more + "}" }
	to := func(address string) string {
		b, _ := json.Marshal(address) // a string always can be
		return fmt.Sprintf(`{"from":"a@example.com","to":[%s],"text":"x"}`, b)
	}
	raw := nats.Header{"content-type": {"message/rfc822"}}
	rawWith := func(name, value string) nats.Header {
		return nats.Header{"Content-Type": {"message/rfc822"}, name: {value}}
	}
	const eml = "From: a@example.com\r\nTo: b@example.net\r\n\r\nx\r\n"
	pad := strings.Repeat("x", schema.MaxProducerHeaders-len("X-Pad: \r\n")+1)
	return []hostile{
		{nil, "hello", "invalid JSON at byte 0", ""},
		{nil, "", "the body is empty", ""},
		{nil, "[]", "must be an object, not an array", ""},
		{nil, with(`"subject":7`), "subject: must be a string, not a number", ""},
		{nil, with(`"subject":null`), "subject: must not be null", ""},
		{nil, with(`"sbuject":"x"`), "sbuject: unknown field", ""},
		{nil, with(`"Subject":"x"`), "Subject: unknown field; it is spelled subject", ""},
		{nil, with(`"text":"y"`), "text: invalid JSON", ""},
		{nil, good + good, "something follows", ""},
		{nil, good + "\x00", "something follows", ""},
		{nil, `{"from":"a@example.com","to":[],"text":"x"}`, "to: no recipient", ""},
		{nil, to("b\r@example.net"), "to[0]: address", ""},
		{nil, to("b@example.net\nRCPT TO:<c@d>"), "to[0]: address", ""},
		{nil, to("b\x00@example.net"), "to[0]: address", ""},
		{nil, to("<>"), "to[0]: the address is empty", ""},
		{nil, to("b@x> SIZE=1 <"), "to[0]: address", ""},
		{nil, with(`"headers":{"X-A":"b\r\nBcc: c"}`), "headers.X-A: contains a control", ""},
		{nil, with(`"headers":{"X-A\u0000":"b"}`), "headers.X-A: is not a header", ""},
		{nil, with(`"headers":{"X<>:":"b"}`), "headers.X<>:: is not a header", ""},
		{nil, with(`"cc":[` + strings.TrimSuffix(strings.Repeat(`"c@d",`, 1001), ",") + `]`), "cc[1000]: entry 1001", ""},
		{nil, with(`"attachments":[{"filename":"a","content":"%%%"}]`), "attachments[0].content: is not base64", ""},
		{nil, `{"raw":"%%%"}`, "raw: is not base64", ""},
		{nats.Header{"Content-Type": {"text/html"}}, good, "header Content-Type:", ""},
		{nats.Header{"Content-Type": {""}}, good, "header Content-Type:", ""},
		{nil, strings.Repeat("[", 10_000), "must be an object, not an array", ""},
		{nil, with(`"headers":` + strings.Repeat(`{"a":`, 10_000)), "headers.a: must be a string, not an object", ""},
		{nil, millionKeys(), "A: unknown field", ""},
		{nats.Header{"X-Pad": {pad}}, good, "headers: the NATS headers have 12289 bytes", ""},
		{nats.Header{"X-Pad": {pad}, "Content-Type": {"message/rfc822"}}, eml, "headers: the NATS headers have", ""},
		{nats.Header{"Postrider-Origin": {"1-1"}}, good, "header Postrider-Origin:", ""},
		{nats.Header{"postrider-hop": {"7"}}, good, "header postrider-hop:", ""},
		{nats.Header{"Mail-Send-At": {"2030-01-02T03:04:05Z"}}, good, "header Mail-Send-At:", ""},
		{nats.Header{"Mail-Sendat": {"x"}}, good, "header Mail-Sendat: unknown header", ""},
		{rawWith("Mail-Sendat", "x"), eml, "header Mail-Sendat: unknown header", ""},
		{rawWith("Mail-Send-At", "2263-01-01T00:00:00Z"), eml, "header Mail-Send-At: 2263", ""},
		{rawWith("Mail-To", "<>"), eml, "header Mail-To: the address is empty", ""},
		{rawWith("Mail-Relay", "other"), eml, `relay: no worker has a relay "other"`, ""},
		{nil, with(`"relay":"other"`), `relay: no worker has a relay "other"`, ""},
		{nil, with(`"send_at":"2263-01-01T00:00:00Z"`), "send_at: 2263", ""},
		{nil, with(`"attachments":[{"filename":"a","object":"b"}]`), "attachments[0].object: is reserved", ""},
		{raw, "", "message: the body is empty", ""},
		{raw, "From: a@example.com\rBcc: x\r\n\r\n", "message: line 1: contains a CR", ""},
		{raw, "From: a@example.com\r\nTo: b@example.net\r\n\r\n\x00", "message: the body contains a NUL", ""},
		{raw, "From: a@example.com\r\nTo: b@example.net> SIZE=1 <\r\n\r\n", "message.To: ", ""},
		{raw, strings.Repeat("Received: x\r\n", 51) + eml, "message: the message has 51 Received fields", mail.ReasonLoop},
		{nil, to("b@\u0378.example"), "to[0]: address", ""},
		{nats.Header{"Nats-Msg-Id": {"not UTF-8: \xff"}}, good, "header Nats-Msg-Id: the id is not valid UTF-8", ""},
		{nats.Header{"Nats-Msg-Id": {strings.Repeat("i", 257)}}, good, "header Nats-Msg-Id", ""},
	}
}

// millionKeys are as many as a lane can take: each has three bytes.
func millionKeys() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var b strings.Builder
	b.WriteByte('{')
	for part := range 4 {
		b.WriteString(`"` + string(alphabet[part]) + `":{`)
		for i := range 250_000 {
			b.WriteString(`"` + string([]byte{alphabet[i>>12], alphabet[i>>6&63], alphabet[i&63]}) + `":1,`)
		}
		b.WriteString(`"z":1},`)
	}
	b.WriteString(`"z":1}`)
	return b.String()
}

// TestHostileMessages: each is dead at first sight, with its bytes and a reason
// that names the field; its neighbours are delivered, and the worker lives.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	b := &bench{wb.With(t, 15*time.Second)}
	b.Work(nil)
	nc := b.Broker.Producer(t)
	all := hostileMessages()
	for i, h := range all {
		b.produce(nc, h.header, []byte(h.body))
		b.Publish(fmt.Sprintf("neighbour-%d", i), "ann@example.net")
	}
	b.Settled()
	for i := range all {
		b.Accepted(fmt.Sprintf("neighbour-%d", i), map[string]int{"ann@example.net": 1})
	}
	left := b.Dead()
	if len(left) != len(all) {
		t.Errorf("%d dead letters, want %d", len(left), len(all))
	}
	for _, h := range all {
		reason := h.reason
		if reason == "" {
			reason = mail.ReasonBadEnvelope
		}
		found := false
		for _, l := range left {
			found = found || string(l.Body) == h.body && l.Reason == reason && strings.HasPrefix(l.Error, strings.TrimSuffix(h.want, " ")) ||
				string(l.Body) == h.body && l.Reason == reason && strings.Contains(l.Error, h.want) && strings.HasPrefix(h.want, "something")
		}
		if !found {
			t.Errorf("no dead letter says %q of %.80q", h.want, h.body)
			for _, l := range left {
				if string(l.Body) == h.body {
					t.Logf("  %s: %s", l.Reason, l.Error)
				}
			}
		}
	}
	for _, l := range left {
		if l.Attempts != 0 || len(l.Log) != 0 {
			t.Errorf("%s was attempted", l.Error)
		}
		for name := range l.Producer {
			if mail.HasPrefixFold(name, "Nats-") || mail.HasPrefixFold(name, "Postrider-") {
				t.Errorf("%s was copied", name)
			}
		}
	}
}

var (
	goodExample = regexp.MustCompile("(?s)```(json|message)\n(.*?)```")
	badExample  = regexp.MustCompile("(?s)```(json|message) refused\n(.*?)```\n\n> `+([^\n]*?)`+\n")
)

// example is one of the docs: JSON, or NATS headers and a mail.
func example(form, text []byte) (nats.Header, string) {
	if string(form) == "json" {
		return nil, string(text)
	}
	head, body, _ := strings.Cut(string(text), "\n\n")
	h := nats.Header{}
	for line := range strings.SplitSeq(head, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h, body
}

// TestEnvelopeExamples publishes every example of docs/envelope.md.
func TestEnvelopeExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/envelope.md")
	if err != nil {
		t.Fatal(err)
	}
	good, bad := goodExample.FindAllSubmatch(doc, -1), badExample.FindAllSubmatch(doc, -1)
	if n := bytes.Count(doc, []byte("```")) / 2; len(good)+len(bad) != n || len(good) < 10 || len(bad) < 25 {
		t.Fatalf("%d good and %d refused examples of %d", len(good), len(bad), n)
	}
	b := newBench(t)
	server := b.workWith()
	nc := b.Broker.Producer(t)
	want := map[string]string{}
	for _, m := range good {
		header, body := example(m[1], m[2])
		b.produce(nc, header, []byte(body))
	}
	for _, m := range bad {
		header, body := example(m[1], m[2])
		b.produce(nc, header, []byte(body))
		want[body] = string(m[3])
	}
	b.Settled()
	if n := server.Accepted(); n < len(good) {
		t.Errorf("%d mails arrived of %d", n, len(good))
	}
	left := b.Dead()
	for _, l := range left {
		if w, ok := want[string(l.Body)]; !ok || w != l.Error {
			t.Errorf("dead: %s, want %s\n%s", l.Error, w, l.Body)
		}
	}
	if len(left) != len(bad) {
		t.Errorf("%d dead letters, want %d", len(left), len(bad))
	}
}

// TestRecordsOwnMessageID: the record of a mail that has its own Message-ID has it, so that
// people find it; one that we made is found by its origin.
func TestRecordsOwnMessageID(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.PublishWith("own", `,"headers":{"Message-ID":"<own-123@example.com>"}`, "ann@example.net")
	b.Publish("ours", "ann@example.net")
	b.Settled()
	for id, want := range map[string]string{"own": "own-123@example.com", "ours": ""} {
		if got := b.record(b.keyOf(id)).MessageID; got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}

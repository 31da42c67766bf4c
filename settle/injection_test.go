package settle_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/settle"
)

// pieces mean something to some reader of a header, an address, a MIME part or
// an SMTP command.
var pieces = []string{
	"\r", "\n", "\r\n", "\x00", "\u0085", "\u2028", "\u2029", "\v", "\f", "\x1b", "\x7f", "\xff", "\xc2", "\u202e", "\ufeff", "\t", " ",
	"\r\nBcc: evil@x.test", "\nBcc: evil@x.test", "\rBcc: evil@x.test", "\u2028Bcc: evil@x.test", "\u0085Bcc: evil@x.test", "\r\n Bcc: evil@x.test",
	"\r\n\r\nevil", "\n\nevil", "\r\n.\r\nMAIL FROM:<evil@x.test>\r\n", "\n.\nRCPT TO:<evil@x.test>\n",
	">\r\nRCPT TO:<evil@x.test", "> SIZE=1 RCPT TO:<evil@x.test", ">,<evil@x.test", ">, evil@x.test", "<evil@x.test>", "><evil@x.test", "<<", ">>", "<>", ">",
	"@relay.test,@other.test:", "(evil@x.test)", "(\r\nBcc: evil@x.test)", "\"", "\\", "\\\"", "\"\r\n\"", "\\\r\n", "\"@x.test", "@", "@@", ",", ";", ":", "=", "%0D%0A",
	"=?utf-8?q?=0D=0ABcc:_evil=40x.test?=", "=?utf-8?b?DQpCY2M6IGV2aWxAeC50ZXN0?=", "=?utf-8?q?=00?=", "=?utf-16?b?AA0ACg==?=", "?=", "=?",
	"\"; name=\"evil.exe", "; boundary=x", "--=_m", "\r\n--=_m", "*0*=utf-8''", "../", "a\u0301",
}

// place puts a piece at the beginning, in the middle and at the end.
func place(value, piece string) []string {
	middle := len(value) / 2
	return []string{piece + value, value[:middle] + piece + value[middle:], value + piece}
}

// field is one of an envelope's, and how to put a value into it.
type field struct {
	name, value string
	put         func(e map[string]any, v string)
}

func fields() []field {
	at := func(name string) func(map[string]any, string) {
		return func(e map[string]any, v string) { e[name] = v }
	}
	list := func(name string) func(map[string]any, string) {
		return func(e map[string]any, v string) { e[name] = []any{v} }
	}
	all := []field{
		{"id", "order-17", at("id")}, {"subject", "Hello there", at("subject")}, {"text", "Hi there", at("text")}, {"html", "<p>Hi</p>", at("html")},
		{"relay", "main", at("relay")}, {"send_at", "2026-01-02T15:04:05Z", at("send_at")}, {"expires_at", "2199-01-02T15:04:05Z", at("expires_at")},
		{"tags", "orders", list("tags")}, {"sender", "Office <s@example.com>", at("sender")}, {"from", "a@example.com", at("from")}, {"from", "Ann <a@example.com>", at("from")},
		{"from.name", "Ann B", func(e map[string]any, v string) { e["from"] = map[string]any{"name": v, "email": "a@example.com"} }},
		{"from.email", "\"a b\"@example.com", func(e map[string]any, v string) { e["from"] = map[string]any{"email": v} }},
		{"envelope.mail_from", "b@example.com", func(e map[string]any, v string) { e["envelope"] = map[string]any{"mail_from": v} }},
		{"envelope.rcpt_to", "b@example.com", func(e map[string]any, v string) { e["envelope"] = map[string]any{"rcpt_to": []any{v}} }},
		{"metadata", "17", func(e map[string]any, v string) { e["metadata"] = map[string]any{"customer": v} }},
		{"metadata key", "customer", func(e map[string]any, v string) { e["metadata"] = map[string]any{v: "17"} }},
		{"alternatives.content_type", "text/calendar; method=REQUEST", func(e map[string]any, v string) {
			e["alternatives"] = []any{map[string]any{"content_type": v, "content": "x"}}
		}},
		{"headers list", "a value", func(e map[string]any, v string) { e["headers"] = map[string]any{"X-Own": []any{"x", v}} }},
		{"headers key", "X-Own", func(e map[string]any, v string) { e["headers"] = map[string]any{v: "x"} }},
	}
	for _, name := range []string{"to", "cc", "bcc", "reply_to"} {
		all = append(all, field{name, "b@example.net", list(name)}, field{name, "\"Bob, C\" <b@example.net>", list(name)}, field{name, "\"b\\\"c\"@example.net", list(name)},
			field{name + ".name", "Bob C", func(e map[string]any, v string) { e[name] = []any{map[string]any{"name": v, "email": "b@example.net"}} }},
			field{name + ".email", "b@[192.0.2.1]", func(e map[string]any, v string) { e[name] = []any{map[string]any{"email": v}} }})
	}
	for name, v := range map[string]string{
		"X-Own": "a value", "References": "<1@example.com> <2@example.com>", "Message-ID": "<1@example.com>", "Date": "Mon, 02 Jan 2006 15:04:05 +0000",
		"List-Unsubscribe": "<https://example.com/u>", "Resent-To": "b@example.net", "DKIM-Signature": "v=1",
	} {
		all = append(all, field{"headers." + name, v, func(e map[string]any, v string) { e["headers"] = map[string]any{name: v} }})
	}
	for name, v := range map[string]string{"filename": "a.pdf", "content_type": "text/plain; charset=utf-8", "content_id": "logo@example.com", "content": "aGk="} {
		all = append(all, field{"attachments." + name, v, func(e map[string]any, v string) {
			a := map[string]any{"filename": "b.pdf", "content": "aGk=", "content_id": "x"}
			a[name] = v
			e["attachments"] = []any{a}
		}})
	}
	return all
}

// breaks are what some reader ends a line or a string at.
const breaks = "\r\n\x00\u0085\u2028\u2029"

// free reports a field that may have line breaks: it is the body, or goes nowhere.
func (f field) free() bool { return f.name == "text" || f.name == "html" || f.name == "metadata" }

// ours are the fields that a mail may have which the envelope did not name.
var ours = []string{"Date", "From", "Sender", "To", "Cc", "Reply-To", "Subject", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}

// TestInjectionIntoJSON puts every piece into every field: the envelope is
// refused, or one message reaches the relay, with no field, part, command or
// recipient that the envelope did not ask for.
func TestInjectionIntoJSON(t *testing.T) {
	t.Parallel()
	w := newBelt(t)
	refused, sent := 0, 0
	for _, f := range fields() {
		for _, piece := range pieces {
			for _, v := range place(f.value, piece) {
				e := map[string]any{"from": "a@example.com", "to": []any{"to@example.net"}, "text": "Hi", "html": "<p>Hi</p>"}
				f.put(e, v)
				body, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				body = bytes.ReplaceAll(body, []byte(`\ufffd`), []byte(strings.Trim(piece, " \t"))) // Marshal mends what is not UTF-8
				h, tx := w.send(nil, body)
				if h.Bad() != nil {
					refused++
					continue
				}
				sent++
				what := f.name + " " + v
				if strings.ContainsAny(piece, breaks) && !f.free() {
					t.Errorf("%q: a line break or a NUL is let through", what)
				}
				checkParts(t, what, h, w.one(what, h, tx))
			}
		}
	}
	t.Logf("refused=%d sent=%d", refused, sent)
	if sent < 1000 || refused < 1000 {
		t.Errorf("%d were sent and %d refused: most pieces are meant for one of both", sent, refused)
	}
}

// checkParts reads a mail as a strict reader does.
func checkParts(t *testing.T, what string, h *settle.Delivery, data []byte) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%q: %v", what, err)
	}
	allowed := slices.Concat(ours, slices.Collect(maps.Keys(h.Envelope().Headers)))
	for name, values := range m.Header {
		known := slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) })
		if !known || len(values) != max(1, len(h.Envelope().Headers[name])) {
			t.Errorf("%q: field %s %d times", what, name, len(values))
		}
	}
	sender := 0
	if h.Envelope().Sender.Email != "" {
		sender = 1
	}
	if n := countAddresses(t, what, m.Header); n != 1+sender+len(h.Envelope().To)+len(h.Envelope().Cc)+len(h.Envelope().ReplyTo) {
		t.Errorf("%q: %d addresses in the header\n%s", what, n, data)
	}
	want := len(h.Envelope().Attachments) + len(h.Envelope().Alternatives)
	for _, s := range []*string{h.Envelope().Text, h.Envelope().HTML} {
		if s != nil {
			want++
		}
	}
	if n := countParts(t, what, m.Header.Get("Content-Type"), m.Body); n != want {
		t.Errorf("%q: %d parts, want %d\n%s", what, n, want, data)
	}
}

func countAddresses(t *testing.T, what string, h netmail.Header) (n int) {
	t.Helper()
	for _, name := range []string{"From", "Sender", "To", "Cc", "Reply-To"} {
		if h.Get(name) == "" {
			continue
		}
		list, err := h.AddressList(name)
		if err != nil {
			t.Errorf("%q: %s: %v", what, name, err)
		}
		n += len(list)
	}
	return n
}

// countParts counts the leaves, which may have Content-* fields alone.
func countParts(t *testing.T, what, contentType string, body io.Reader) (n int) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Errorf("%q: %q: %v", what, contentType, err)
		return 0
	}
	if !strings.HasPrefix(kind, "multipart/") {
		return 1
	}
	r := multipart.NewReader(body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Errorf("%q: %v", what, err)
			return n
		}
		for name, values := range p.Header {
			if !strings.HasPrefix(name, "Content-") || len(values) != 1 {
				t.Errorf("%q: a part has %s %d times", what, name, len(values))
			}
		}
		n += countParts(t, what, p.Header.Get("Content-Type"), p)
	}
}

// TestInjectionIntoMail puts every piece into the fields of a mail that came
// whole and into the headers beside it. What is sent is the mail as it was but
// for Bcc and line ends, to those whom the envelope says; what follows a
// line end is a field of its own, for the mail is the producer's to write.
func TestInjectionIntoMail(t *testing.T) {
	t.Parallel()
	w := newBelt(t)
	refused, sent := 0, 0
	try := func(what string, header nats.Header, body string) {
		h, tx := w.send(header, []byte(body))
		if h.Bad() != nil {
			refused++
			return
		}
		sent++
		data := w.one(what, h, tx)
		head, _, _ := strings.Cut(string(data), "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			name, _, _ := strings.Cut(line, ":") // one that begins with a space is none
			if name = strings.TrimRight(name, " \t"); strings.EqualFold(name, "Bcc") || strings.EqualFold(name, "Resent-Bcc") {
				t.Errorf("%q: Bcc is sent: %q", what, data)
			}
		}
		for _, r := range h.Recipients() {
			if strings.ContainsAny(r.Address, "\r\n\x00") {
				t.Errorf("%q: to %q", what, r.Address)
			}
		}
	}
	whole := map[string]string{
		"From": "Ann <a@example.com>", "Sender": "a@example.com", "To": "\"B, C\" <b@example.net>, c@example.net", "Cc": "group: d@example.net;", "Bcc": "e@example.net",
		"Subject": "Hi there", "Message-ID": "<1@example.com>", "Resent-To": "f@example.net", "Resent-Bcc": "g@example.net", "Content-Type": "text/plain", "X-Own": "x",
	}
	beside := map[string]string{
		"Mail-Id": "order-17", "Mail-From": "a@example.com", "Mail-To": "b@example.net", "Mail-Tag": "orders", "Mail-Meta-Customer": "17",
		"Mail-Send-At": "2020-01-02T15:04:05Z", "Mail-Relay": "main", "Nats-Msg-Id": "17", "X-Own": "x", "Content-Type": "message/rfc822",
	}
	for _, piece := range pieces {
		for name, value := range whole {
			for _, v := range append(place(value, piece), value+" "+base64.StdEncoding.EncodeToString([]byte(piece))) {
				var head strings.Builder
				for _, other := range slices.Sorted(maps.Keys(whole)) {
					switch other {
					case name:
						head.WriteString(name + ": " + v + "\r\n")
					case "From", "To", "Bcc":
						head.WriteString(other + ": " + whole[other] + "\r\n")
					}
				}
				try(name+" "+v, asMail, head.String()+"\r\nHi\r\n")
			}
			try("name "+piece, asMail, "From: a@example.com\r\nTo: b@example.net\r\n"+name+piece+": x\r\n\r\nHi\r\n")
		}
		for name, value := range beside {
			for _, v := range place(value, piece) {
				h := nats.Header{"Content-Type": {"message/rfc822"}}
				h[name] = []string{v}
				try(name+" "+v, h, mailHead+"Hi\r\n")
			}
			try("name "+piece, nats.Header{"Content-Type": {"message/rfc822"}, name + piece: {value}}, mailHead+"Hi\r\n")
		}
	}
	t.Logf("refused=%d sent=%d", refused, sent)
	if sent < 1000 || refused < 1000 {
		t.Errorf("%d were sent and %d refused: most pieces are meant for one of both", sent, refused)
	}
}

package compose

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"mime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// FuzzCompose: any envelope that decodes either composes to a message that reads
// back as the envelope, or is refused for one of three reasons.
func FuzzCompose(f *testing.F) {
	f.Add("Bob", "bob@example.com", "hello", "text\n", "X-A", "b")
	f.Add("J. \"Q\" \\", `"a b"@example.com`, "=?utf-8?q?a?=", "\r\n.\r\n\n\r", "Message-ID", "<a@b>")
	f.Add("Zoë", "zoë@zoë.example", strings.Repeat("漢字", 99), strings.Repeat("=", 99), strings.Repeat("X", 64), strings.Repeat("é ", 99))
	f.Add(" a  b ", "a@[IPv6:::1]", " ", strings.Repeat("x", 2000), "References", strings.Repeat("y", 1000))
	f.Add("=?utf-8?b?", "a@b", strings.Repeat("a ", 500), "\x01 \n", "date", "Tue, 1 Jul 2003 10:52:37 +0200")
	f.Add("", "a@b", "s", "", "List-Id", "\u00dc, <<a>, \"b\\")
	f.Add("", "a@b", "s", "", "Errors-To", "\u00dc <a@b>, \"c,d\" <\u00fc@\u00fc.example>, e>")
	f.Add("", "a@b", "s", "", "List-Unsubscribe", strings.Repeat("z", 985))
	f.Add("", "a..b.@web_01.example.", "s", "", "X", "y")
	f.Fuzz(func(t *testing.T, name, address, subject, text, key, value string) {
		checkEnvelope(t, name, address, subject, text, key, value)
	})
}

// TestAnyEnvelope combines what fuzzing rarely finds: pieces that are allowed and
// mean something to some reader.
func TestAnyEnvelope(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{
		" ", "  ", "a", "Bob", "=?utf-8?q?a?=", "=?", "?=", "=?utf-8?b?", `"`, `\`, "(", ")", "<", ">", ",", ";", ":", "@", ".", "_", "=",
		"é", "漢", "😀", "e\u0301", "\u200b", "\ufeff", "\u00a0", strings.Repeat("x", 80), strings.Repeat("word ", 30), strings.Repeat("ü", 50),
	}
	values := append(slices.Clone(pieces), strings.Repeat("y", 1000))
	lines := append(slices.Clone(values), "\r", "\n", "\r\n", ".", "\t", "From ", "\x1b", strings.Repeat("long line ", 120))
	locals := []string{"a", "a.b", "=?utf-8?q?a?=", "!#$%&'*+-/=?^_`{|}~", `"a b"`, `"a\"@\\"`, `"<>,"`, "ü", strings.Repeat("l", 64), strings.Repeat("l", 100), "a..b", ".a.", "."}
	domains := []string{"example.com", "b", "b.", "web_01.example.com", "web_01.bücher.example.", "[127.0.0.1]", "[IPv6:::1]", "bücher.example", "例え.example", strings.Repeat("d", 63) + "." + strings.Repeat("e", 63) + ".f"}
	join := func(from []string) string {
		var b strings.Builder
		for range r.IntN(8) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	composed := 0
	for range 700 {
		address := locals[r.IntN(len(locals))] + "@" + domains[r.IntN(len(domains))]
		key := strings.Repeat("X", 1+r.IntN(64))
		if checkEnvelope(t, join(pieces), address, join(pieces), join(lines), key, join(values)) {
			composed++
		}
		if t.Failed() {
			return
		}
	}
	if composed < 500 {
		t.Errorf("%d of 700 envelopes composed, the pieces are meant to be allowed", composed)
	}
}

// checkEnvelope composes one envelope and reads it back; false if it does not decode
// or may be refused.
func checkEnvelope(t *testing.T, name, address, subject, text, key, value string) bool {
	t.Helper()
	a := mail.Address{Name: name, Email: address}
	body, err := json.Marshal(&schema.Envelope{
		ID: key, From: a, To: []mail.Address{a, {Email: address}, a}, ReplyTo: []mail.Address{a},
		Sender: a, Subject: subject, Text: &text, Headers: map[string]schema.Values{key: {value}, "X-Other": {subject, value}},
		Alternatives: []schema.Alternative{{ContentType: "text/calendar", Content: text}},
	})
	if err != nil {
		return false
	}
	e, err := schema.Decode(nil, body)
	if err != nil || strings.HasPrefix(address, `""@`) { // allowed, but net/mail does not read it
		return false
	}
	if _, err := Compose(e, origin, enqueued); err != nil {
		bad, ok := errors.AsType[*schema.EnvelopeError](err)
		if !ok || !mayBeRefused(e, bad.Field) {
			t.Fatalf("compose %s: %v", body, err)
		}
		return false
	}
	m, b := compose(t, e)
	if isStructured(strings.ToLower(key)) {
		checkBytes(t, m, b)
		return true
	}
	checkMessage(t, e, m, b)
	return true
}

func mayBeRefused(e *schema.Envelope, field string) bool {
	switch strings.ToLower(field) {
	case "headers.date", "headers.message-id":
		return true
	case "from", "sender", "to[0]":
		return !isASCII(e.From.Email)
	}
	// A long word, or what is no text in a field that programs read.
	name, ok := strings.CutPrefix(field, "headers.")
	name, _, _ = strings.Cut(name, "[")
	long := slices.ContainsFunc(e.Headers[name], func(v string) bool { return len(v) > longestWord })
	return ok && (long || isStructured(strings.ToLower(name)))
}

// FuzzFile: a file of any name and type reads back with that name and type.
func FuzzFile(f *testing.F) {
	f.Add("a.pdf", "", "", []byte("x"))
	f.Add(strings.Repeat("ü", 99)+".txt", "text/x; charset=\"a b\"; y=z", "logo@x", []byte("\r\n.\r\n"))
	f.Add("=?utf-8?q?a?=\";b", "Image/PNG", "1", []byte{})
	f.Fuzz(func(t *testing.T, name, typ, id string, content []byte) {
		html := "<img src=cid:" + id + ">"
		if content == nil {
			content = []byte{}
		}
		e := &schema.Envelope{
			From: mail.Address{Email: "a@b"}, To: []mail.Address{{Email: "c@d"}}, HTML: &html,
			Attachments: []schema.Attachment{{Filename: name, ContentType: typ, ContentID: id, Content: content}},
		}
		if e.Validate() != nil || !utf8.ValidString(html) {
			return
		}
		m, b := compose(t, e)
		checkBytes(t, m, b)
		parts := readParts(t, b)
		if len(parts) != 2 {
			t.Fatalf("%d parts\n%s", len(parts), b)
		}
		want, _, _ := mime.ParseMediaType(typ)
		if p := parts[1]; p.Filename != name || p.ContentID != id || p.Body != string(content) || typ != "" && p.Type != want {
			t.Fatalf("%+v of %q, %q, %q", p, name, typ, id)
		}
	})
}

package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
)

// seen is what people see of an envelope.
func seen(e *Envelope) string {
	var to []string
	for _, r := range e.Recipients() {
		to = append(to, r.Address)
	}
	return fmt.Sprintf("%s|%s|%s|%s|%s", e.ID, e.ReversePath(), strings.Join(to, " "), e.Subject, strings.Join(e.Tags, " "))
}

// TestSalvage: what can be read of an envelope is read, whatever else is wrong.
func TestSalvage(t *testing.T) {
	t.Parallel()
	head := func(more ...string) map[string][]string {
		h := map[string][]string{"Content-Type": asMessage}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = append(h[more[i]], more[i+1])
		}
		return h
	}
	for _, c := range []struct {
		header     map[string][]string
		body, want string
	}{
		{nil, `{"id":"o","from":"a@b","to":["ann@example.net "],"subject":"s","tags":["t","u"]}`, "o|a@b|ann@example.net|s|t u"},
		{nil, `{"id":"o","sbuject":{"x":[1]},"from":"A <a@b>","to":["x@y"],"cc":[{"name":"n","email":"c@d"}],"bcc":["e@f"]}`, "o|a@b|x@y c@d e@f||"},
		{nil, `{"ID":17,"From":null,"To":"x@y, \"Z, Q\" <z@q>"}`, "17||x@y z@q||"},
		{nil, `{"id":"first","id":"second","to":[7,null,[["x@y"]],"ann@example..net"]}`, "first||7 ann@example..net||"},
		{nil, `{"id":" o ","to":["b\r\nRCPT TO:<c@x>@y"],"subject":"a\nb"}`, "o||b  RCPT TO:<c@x>@y|a b|"},
		{nil, `{"id":"a\nb","envelope":{"mail_from":"bounce@","rcpt_to":["x"]},"to":["y@z"]}`, "|bounce@|x||"},
		{nil, `{"id":"o","to":["x@y"],"text":"not ended`, "o||x@y||"},
		{nil, "\ufeff" + ` {"id":"o","to":["x@y"]}`, "o||x@y||"},
		{nil, "{\"id\":\"o\",\"to\":[\"x\xff@y\"],\"subject\":\"\xff\"}", "o||x\ufffd@y|\ufffd|"},
		{nil, `{"id":"` + strings.Repeat("x", 257) + `","from":"a@b"}`, "|a@b|||"},
		{nil, `[{"id":"o"}]`, "||||"},
		{nil, ``, "||||"},
		{head("Mail-Id", "o"), `{"id":"p","to":["x@y"]}`, "o||x@y||"},
		{map[string][]string{HeaderUnreadable: {""}}, `{"id":"o","to":["x@y"]}`, "o||x@y||"},
		{head("Mail-Id", "o"), "From: you@example.com\nTo: ann@example..net\nSubject: x\n\nHi\n", "o|you@example.com|ann@example..net|x|"},
		{head("mail-id", "o", "Mail-Sendat", "x", "MAIL-TO", "x@y ", "Mail-To", "z", "Mail-Tag", "t", "Mail-From", ""), "From: a@b\nTo: c@d\n\n", "o||x@y z||t"},
		{head(), "From: A <a@b> <c@d>\r\nno field\r\n\tof it\r\nTo: x@y <z@q>, \"r@s\r\nCc: ok@y\r\nBcc: v@w\r\nSubject: =?utf-8?q?=C3=BC=0A?=\r\n", "|a@b|z@q ok@y v@w|ü|"},
		{head(), "\r\nTo: in@body\r\n", "||||"},
		{head(), "Subject: x\x00\r\n y\r\nTo: x@y\r\n\r\n", "||x@y||"},
		{nil, `{"id":"o","raw":"RnJvbTogYUBiClRvOiBjQGQuLmUKU3ViamVjdDogaGkKbm8gZmllbGQK"}`, "o|a@b|c@d..e|hi|"},
		{nil, `{"id":"o","raw":"not base64","to":["x@y"]}`, "o||x@y||"},
	} {
		if got := seen(Salvage(c.header, []byte(c.body))); got != c.want {
			t.Errorf("%q %.90q: %q, want %q", c.header, c.body, got, c.want)
		}
	}
}

// TestSalvageReadsWhatDecodeReads: of a good envelope both find the same.
func TestSalvageReadsWhatDecodeReads(t *testing.T) {
	t.Parallel()
	for _, good := range goodEnvelopes() {
		e, err := Decode(nil, []byte(good))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := seen(Salvage(nil, []byte(good))), seen(e); got != want {
			t.Errorf("%s: %q, want %q", good, got, want)
		}
	}
	h := map[string][]string{"Content-Type": asMessage, "Mail-Id": {"x"}}
	e, err := Decode(h, []byte(message))
	if got := seen(Salvage(h, []byte(message))); err != nil || got != seen(e) {
		t.Errorf("%q, want %q (%v)", got, seen(e), err)
	}
}

// TestHeaderID needs no body, and is the id that Salvage and Decode find.
func TestHeaderID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mailID, msgID, want string }{
		{"a", "b", "a"}, {"", "b", "b"}, {"a\nb", "b", "b"}, {"", "", ""}, {strings.Repeat("x", 257), " b ", "b"},
	} {
		h := map[string][]string{"mail-id": {c.mailID}, "NATS-Msg-ID": {c.msgID}}
		if got := HeaderID(h); got != c.want {
			t.Errorf("%q: %q, want %q", h, got, c.want)
		}
	}
}

// TestSalvageIsBounded: hostile envelopes are read as fast as they are refused.
func TestSalvageIsBounded(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"addresses": `{"to":"` + strings.Repeat("a@b,", 1<<18) + `"}`, "lines": strings.Repeat("To: a@b\n", 1<<17), "brackets": "To: " + strings.Repeat("<", 1<<18),
		"comments": "To: " + strings.Repeat("(", 1<<18), "lists": `{"to":[` + strings.Repeat(`["a@b"],`, 1<<16),
	}
	for name, c := range hostileSizes() {
		bodies[name] = c[0]
	}
	for name, body := range bodies {
		began := time.Now()
		e := Salvage(nil, []byte(body))
		if took := time.Since(began); took > 5*time.Second { // milliseconds, on a quiet machine
			t.Errorf("%s took %v", name, took)
		}
		if n := len(e.Recipients()); n > 3*MaxRecipients {
			t.Errorf("%s: %d recipients", name, n)
		}
	}
}

// checkSalvaged: all of it can be recorded and shown.
func checkSalvaged(t *testing.T, header map[string][]string, body []byte) {
	t.Helper()
	e := Salvage(header, body)
	if err := ValidateID(e.ID); err != nil {
		t.Fatal(err)
	}
	texts := append([]string{e.Subject, e.ReversePath()}, e.Tags...)
	for _, r := range e.Recipients() {
		texts = append(texts, r.Address)
		if r.Address == "" {
			t.Fatal("a recipient without a name")
		}
	}
	for _, s := range texts {
		if mail.HasControl(s) || !utf8.ValidString(s) || len(s) > 4*maxSubject {
			t.Fatalf("%q cannot be shown", s)
		}
	}
	for _, list := range [][]mail.Address{e.To, e.Cc, e.Bcc} {
		if len(list) > MaxRecipients {
			t.Fatalf("%d recipients", len(list))
		}
	}
	if _, err := json.Marshal(texts); err != nil {
		t.Fatal(err)
	}
}

func FuzzSalvage(f *testing.F) {
	f.Add([]byte(message), "Mail-To", "a@b")
	f.Add([]byte(`{"id":"a","from":{"email":"x@y"},"to":["a <b@c",{"email":"d"}],"raw":"YQ==","envelope":{"rcpt_to":"q"}}`), "Mail-Id", " x")
	f.Add([]byte("To: \"a\\\n\tb\x00<<>>,(\r\nno\n x"), "mail-from", "\xff")
	for _, good := range goodEnvelopes() {
		f.Add([]byte(good), HeaderUnreadable, "")
	}
	f.Fuzz(func(t *testing.T, body []byte, name, value string) {
		checkSalvaged(t, map[string][]string{name: {value}}, body)
	})
}

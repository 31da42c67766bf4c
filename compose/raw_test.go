package compose

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

func raw(t testing.TB, b []byte) *schema.Envelope {
	t.Helper()
	e, err := schema.Decode(map[string][]string{"Content-Type": {schema.TypeMessage}, "Mail-To": {"ann@example.net"}, "Mail-From": {""}}, b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRawMessages: messages like those of common mailers, compared with files that
// were made without this package.
func TestRawMessages(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/raw/*.eml")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	eight := map[string]bool{"thunderbird": true, "mutt": true, "utf8-address": true, "latin1": true}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".eml") + ".sent")
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(b)
		m, got := compose(t, raw(t, b))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%q, want\n%q", name, got, want)
		}
		if m.Size != int64(len(got)) || m.EightBit != eight[name] || m.UTF8 != (name == "utf8-address") {
			t.Errorf("%s: size %d, EightBit %v, UTF8 %v", name, m.Size, m.EightBit, m.UTF8)
		}
		if !bytes.Equal(b, before) {
			t.Errorf("%s: the producer's bytes were changed", name)
		}
	}
}

// What a message without them gets in these tests.
const (
	addedDate = "Date: Tue, 25 Nov 2025 04:00:00 +0000\r\n"
	addedID   = "Message-ID: <" + origin + "@localhost>\r\n"
)

// TestRawGetsDateAndMessageID: what is missing comes from the origin, at the end of the
// header; what is there stays, and what a signature keeps out is not added.
func TestRawGetsDateAndMessageID(t *testing.T) {
	t.Parallel()
	const from = "From: A <a@web_01.bücher.example.>, b@c\r\n"
	const id = "Message-ID: <" + origin + ".order-17@web_01.xn--bcher-kva.example>\r\n"
	const sign = "DKIM-Signature: v=1; a=rsa-sha256; d=x; bh=h=date; h=from : subject"
	for in, want := range map[string]string{
		from + "\r\nhi\r\n":                    from + addedDate + id + "\r\nhi\r\n",
		from + "\r\n":                          from + addedDate + id + "\r\n",
		from:                                   from + addedDate + id,
		from + "date : \r\n\r\n":               from + "date : \r\n" + id + "\r\n",
		from + "MESSAGE-ID:\r\n <x@y>\r\n\r\n": from + "MESSAGE-ID:\r\n <x@y>\r\n" + addedDate + "\r\n",
		from + "Resent-Date: x\r\n\r\n":        from + "Resent-Date: x\r\n" + addedDate + id + "\r\n",
		sign + "; b=x\r\n" + from + "\r\n":     sign + "; b=x\r\n" + from + addedDate + id + "\r\n",
		sign + ":\r\n\tmessage-id:x; b=x\r\n" + from + "\r\n":         sign + ":\r\n\tmessage-id:x; b=x\r\n" + from + addedDate + "\r\n",
		sign + ": Date :Message-Id;b=x\r\n" + from + "\r\n":           sign + ": Date :Message-Id;b=x\r\n" + from + "\r\n",
		"ARC-Message-Signature: i=1; h=date; b=x\r\n" + from + "\r\n": "ARC-Message-Signature: i=1; h=date; b=x\r\n" + from + id + "\r\n",
		sign + "; b=x\r\n" + from + sign + ":date; b=y\r\n\r\n":       sign + "; b=x\r\n" + from + sign + ":date; b=y\r\n" + id + "\r\n",
	} {
		e := raw(t, []byte(in))
		e.ID = "order-17"
		m, got := compose(t, e)
		if string(got) != want {
			t.Errorf("%q: got\n%q, want\n%q", in, got, want)
		}
		if has := strings.Contains(strings.ToLower(want), "message-id:"); has && m.MessageID == "" && !strings.Contains(want, "message-id:x") {
			t.Errorf("%q: no Message-ID is known", in)
		}
		again, same := compose(t, e)
		if !bytes.Equal(same, got) || again.MessageID != m.MessageID {
			t.Errorf("%q: another attempt sends %q", in, same)
		}
	}
}

// TestRawUTF8: only an address beyond ASCII asks for SMTPUTF8; other text in the header
// never does.
func TestRawUTF8(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		"From: a@b\nSubject: Grüße\n": false, "From: Jörg <a@b>\n": false, "From: \"Jörg@x\" <a@b>\n": false, "From: a@b (Jörg@x)\n": false,
		"X-Any: jörg@x\nFrom: a@b\n": false, "Subject: jörg@bücher.example\n": false, "From: j\xf6rg@x\n": false, "Bcc: jörg@x\nFrom: a@b\n": false,
		"From: jörg@x\n": true, "From: a@b\nTo: A <a@bücher.example>\n": true, "cc : c@d,\n jörg@x\n": true, "Resent-To: g: jörg@x;\n": true,
	} {
		if m, b := compose(t, raw(t, []byte(in))); m.UTF8 != want || m.EightBit == isASCIIBytes(b) {
			t.Errorf("%q: UTF8 %v, want %v; EightBit %v", in, m.UTF8, want, m.EightBit)
		}
	}
}

// TestRawMessageIDDomain: the author's domain, else the sender's, else none of ours.
func TestRawMessageIDDomain(t *testing.T) {
	t.Parallel()
	bounces := "bounces@sender.example"
	for in, want := range map[string]string{
		"From: a@b.example\r\n": "b.example", "From: nobody\r\n": "sender.example", "Subject: x\r\n": "sender.example", "From: a@[192.0.2.1]\r\n": "[192.0.2.1]",
	} {
		e := raw(t, []byte(in))
		e.Envelope.MailFrom = &bounces
		if m, _ := compose(t, e); m.MessageID != origin+"@"+want {
			t.Errorf("%q: Message-ID %s, want the domain %s", in, m.MessageID, want)
		}
	}
}

func TestRawHides(t *testing.T) {
	t.Parallel()
	m, got := compose(t, raw(t, []byte("bCC : a@b,\r\n\tc@d\nResent-BCC:\n e@f\nMessage-Id: <x@y>\nBcc:\n\nBcc: stays\n")))
	if string(got) != "Message-Id: <x@y>\r\n"+addedDate+"\r\nBcc: stays\r\n" || m.MessageID != "x@y" {
		t.Errorf("%q, Message-ID %q", got, m.MessageID)
	}
	// All of the header is removed: the rest is still a body.
	if _, got := compose(t, raw(t, []byte("Bcc: a@b\n\nbody"))); string(got) != addedDate+addedID+"\r\nbody\r\n" {
		t.Errorf("%q", got)
	}
}

// TestRawIsNotCopied: a message that needs no change is not copied.
func TestRawIsNotCopied(t *testing.T) {
	t.Parallel()
	b := []byte("From: a@b\r\nDate: x\r\nMessage-ID: <x@y>\r\n\r\nhi\r\n")
	m, _ := compose(t, raw(t, b))
	if &m.bytes[0] != &b[0] {
		t.Error("it was copied")
	}
}

// FuzzRaw: what is sent has only CRLF line ends and no Bcc, and reads as the same
// fields and lines.
func FuzzRaw(f *testing.F) {
	f.Add([]byte("From: a@b\r\nBcc: c@d,\r\n e@f\r\nTo: g@h\r\n\r\n.\r\n"))
	f.Add([]byte("Bcc: a\nX: y\n\n\r\n\r\r\n."))
	f.Add([]byte("X: y"))
	f.Add([]byte("\ufeffFrom a Mon\n>From b\nX: y\n\nFrom c\n"))
	f.Add([]byte("DKIM-Signature: v=1; h=from:date\n :Message-ID; b=x\nFrom: a@b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := schema.Decode(map[string][]string{"Content-Type": {schema.TypeMessage}, "Mail-To": {"a@b"}, "Mail-From": {""}}, b)
		if err != nil {
			return
		}
		m, got := compose(t, e)
		if int64(len(got)) != m.Size {
			t.Fatalf("size %d of %d", m.Size, len(got))
		}
		if rest := strings.ReplaceAll(string(got), "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") || len(got) > 0 && !bytes.HasSuffix(got, []byte("\r\n")) {
			t.Fatalf("line ends: %q", got)
		}
		before, _ := mail.ReadHead(mail.WithoutFirstLine(b))
		want := 0
		for _, name := range []string{"Date", "Message-ID"} {
			if lacks(before, name) {
				want++
			}
		}
		for i := range before.Fields {
			if f := before.Fields[i]; !f.Is("Bcc") && !f.Is("Resent-Bcc") {
				want++
			}
		}
		after, err := mail.ReadHead(got)
		if want == 0 && err != nil {
			return
		}
		if err != nil || len(after.Fields) != want {
			t.Fatalf("%d fields, want %d: %v", len(after.Fields), want, err)
		}
		_, again := compose(t, raw(t, got))
		if !bytes.Equal(again, got) {
			t.Fatalf("sent twice it differs: %q, %q", got, again)
		}
	})
}

// TestRawIsHeldToItsRules: a raw message is checked even if it was not decoded.
func TestRawIsHeldToItsRules(t *testing.T) {
	t.Parallel()
	_, err := Compose(&schema.Envelope{Raw: []byte("no field"), To: []mail.Address{{Email: "a@b"}}}, origin, enqueued)
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); !ok || bad.Field != "message" {
		t.Error(err)
	}
}

// TestRawWithoutDecoding: a first line that is no field is not sent either if the
// envelope was not decoded.
func TestRawWithoutDecoding(t *testing.T) {
	t.Parallel()
	const rest = "Date: x\r\nMessage-ID: <x@y>\r\n\r\nhi\r\n"
	_, got := compose(t, &schema.Envelope{Raw: []byte("\ufeffFrom a Mon\n" + rest), To: []mail.Address{{Email: "a@b"}}})
	if string(got) != rest {
		t.Errorf("%q", got)
	}
}

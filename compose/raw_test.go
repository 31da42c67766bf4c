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

func TestRawHides(t *testing.T) {
	t.Parallel()
	m, got := compose(t, raw(t, []byte("bCC : a@b,\r\n\tc@d\nResent-BCC:\n e@f\nMessage-Id: <x@y>\nBcc:\n\nBcc: stays\n")))
	if string(got) != "Message-Id: <x@y>\r\n\r\nBcc: stays\r\n" || m.MessageID != "x@y" {
		t.Errorf("%q, Message-ID %q", got, m.MessageID)
	}
	// All of the header is removed: the rest is still a body.
	if _, got := compose(t, raw(t, []byte("Bcc: a@b\n\nbody"))); string(got) != "\r\nbody\r\n" {
		t.Errorf("%q", got)
	}
}

// TestRawIsNotCopied: a message that needs no change is not copied.
func TestRawIsNotCopied(t *testing.T) {
	t.Parallel()
	b := []byte("From: a@b\r\n\r\nhi\r\n")
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
		before, _ := mail.ReadHead(b)
		want := 0
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

package compose

import (
	"bytes"
	"io"
	"mime"
	mimeparts "mime/multipart"
	netmail "net/mail"
	"testing"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// attached is a mail with those messages attached.
func attached(mails ...string) *schema.Envelope {
	text := "see below"
	e := &schema.Envelope{From: mail.Address{Email: "a@example.com"}, To: []mail.Address{{Email: "b@example.net"}}, Text: &text}
	for _, m := range mails {
		e.Attachments = append(e.Attachments, schema.Attachment{Filename: "orig.eml", ContentType: "message/rfc822", Content: []byte(m)})
	}
	return e
}

// TestAttachedMail: a message is attached as it is, never in base64, and all of the
// multipart says so if it has eight bits.
func TestAttachedMail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct{ encoding, body string }{
		"From: b@example.net\r\nSubject: orig\r\n\r\nHi\r\n": {"7bit", "From: b@example.net\r\nSubject: orig\r\n\r\nHi\r\n"},
		"From: b@example.net\nSubject: orig\n\nHi\r.\n":      {"7bit", "From: b@example.net\r\nSubject: orig\r\n\r\nHi\r\n.\r\n"},
		"Subject: Grüße\n\nHi":                               {"8bit", "Subject: Grüße\r\n\r\nHi\r\n"},
		"Subject: x\n\nGr\xfc\xdfe\n":                        {"8bit", "Subject: x\r\n\r\nGr\xfc\xdfe\r\n"},
		"":                                                   {"7bit", ""},
		"X: y\n\n--=_m" + origin + "--\n--=_m" + origin + "_\nZ\n": {"7bit", "X: y\r\n\r\n--=_m" + origin + "--\r\n--=_m" + origin + "_\r\nZ\r\n"},
	} {
		m, b := compose(t, attached(in))
		sent, err := netmail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		_, params, err := mime.ParseMediaType(sent.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		eight := want.encoding == "8bit"
		if got := sent.Header.Get("Content-Transfer-Encoding"); (got == "8bit") != eight || m.EightBit != eight || m.UTF8 {
			t.Errorf("%q: encoding %q of all, EightBit %v, UTF8 %v", in, got, m.EightBit, m.UTF8)
		}
		r := mimeparts.NewReader(sent.Body, params["boundary"])
		if _, err := r.NextRawPart(); err != nil {
			t.Fatal(err)
		}
		p, err := r.NextRawPart()
		if err != nil {
			t.Fatalf("%q: %v\n%s", in, err, b)
		}
		body, err := io.ReadAll(p)
		typ, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil || string(body) != want.body ||
			p.Header.Get("Content-Transfer-Encoding") != want.encoding || typ != "message/rfc822" {
			t.Errorf("%q: %v, %q, want %q\n%v", in, err, body, want.body, p.Header)
		}
		if _, err := r.NextRawPart(); err != io.EOF {
			t.Errorf("%q: another part: %v", in, err)
		}
	}
}

// TestMailAttachedToItself: a message of ours that is attached under the same origin
// cannot end the parts of the new one.
func TestMailAttachedToItself(t *testing.T) {
	t.Parallel()
	_, first := compose(t, attached("X: y\n\nz\n"))
	_, second := compose(t, attached(string(first)))
	m, third := compose(t, attached(string(second), string(first)))
	checkBytes(t, m, third)
	parts := readParts(t, third)
	if len(parts) != 3 || parts[1].Body != string(second) || parts[2].Body != string(first) {
		t.Errorf("%d parts\n%s", len(parts), third)
	}
}

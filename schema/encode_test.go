package schema

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
)

const rawMail = "From: a@example.com\r\nTo: b@example.net\r\nSubject: Hi\r\n\r\nhi\r\n"

func TestEncodeIsReadBack(t *testing.T) {
	t.Parallel()
	text, null, bounces := "t", "", "bounces@example.com"
	at := time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC)
	many := make([]string, 600)
	for i := range many {
		many[i] = "recipient-of-a-long-name@example.net"
	}
	for name, c := range map[string]struct {
		e   Envelope
		raw bool // the form
	}{
		"json": {Envelope{ID: "x", From: mail.Address{Name: "Jörg", Email: "a@b"}, To: []mail.Address{{Email: "c@d"}}, Text: &text, SendAt: at, Tenant: "acme"}, false},
		"json, more": {Envelope{
			From: mail.Address{Email: "a@b"}, Sender: mail.Address{Email: "s@b"}, To: []mail.Address{{Email: "c@d"}}, Text: &text, Headers: map[string]Values{"X-A": {"a", "b"}, "X-B": {"c"}},
			Alternatives: []Alternative{{ContentType: "text/calendar", Content: ""}}, Attachments: []Attachment{{Filename: "a", Content: []byte("X: y\n"), ContentType: "message/rfc822"}},
		}, false},
		"raw": {Envelope{Raw: []byte(rawMail)}, true},
		"raw, all": {Envelope{
			ID: "x", Raw: []byte(rawMail), Tags: []string{"a", "", "Grüße"}, Metadata: map[string]string{"K": "v", "e": ""}, SendAt: at, ExpiresAt: at.Add(time.Hour),
			Tenant: "acme", Relay: "r", MaxAttempts: 3, Envelope: &Path{MailFrom: &bounces, RcptTo: []string{"c@d", "e@f"}},
		}, true},
		"raw, null path":       {Envelope{Raw: []byte(rawMail), Envelope: &Path{MailFrom: &null}}, true},
		"raw, lists":           {Envelope{Raw: []byte(rawMail), From: mail.Address{Email: "x@y"}, To: []mail.Address{{Name: "C", Email: "c@d"}}, Bcc: []mail.Address{{Email: "e@f"}}}, true},
		"raw, key":             {Envelope{Raw: []byte(rawMail), Metadata: map[string]string{"a b": "v"}}, false},
		"raw, no key's case":   {Envelope{Raw: []byte(rawMail), Metadata: map[string]string{"a": "v", "A": "w"}}, false},
		"raw, two lines":       {Envelope{Raw: []byte(rawMail), Metadata: map[string]string{"a": "v\nw"}}, false},
		"raw, a space":         {Envelope{Raw: []byte(rawMail), Tags: []string{" a"}}, false},
		"raw, many recipients": {Envelope{Raw: []byte(rawMail), Envelope: &Path{RcptTo: many}}, false},
	} {
		header, body, err := c.e.Encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if raw := len(header[HeaderContentType]) == 1; raw != c.raw {
			t.Errorf("%s: published with %v", name, header)
		}
		got, err := Decode(header, body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.e.Raw == nil && !reflect.DeepEqual(*got, c.e) {
			t.Errorf("%s: got %+v, want %+v", name, *got, c.e)
		}
		want := c.e
		if c.e.Raw != nil {
			if err := want.adopt("raw"); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got.Recipients(), want.Recipients()) || got.ReversePath() != want.ReversePath() || got.ID != want.ID || got.Subject != want.Subject ||
			!reflect.DeepEqual(got.Tags, want.Tags) || !reflect.DeepEqual(got.Metadata, want.Metadata) || !got.SendAt.Equal(want.SendAt) ||
			!got.ExpiresAt.Equal(want.ExpiresAt) || got.Tenant != want.Tenant || got.Relay != want.Relay || got.MaxAttempts != want.MaxAttempts {
			t.Errorf("%s: got %+v, want %+v", name, *got, want)
		}
	}
}

// TestEncodeHidesNoFault: what Decode would refuse is not lost in the headers.
func TestEncodeHidesNoFault(t *testing.T) {
	t.Parallel()
	text := "t"
	for field, e := range map[string]Envelope{
		"text":                {Raw: []byte(rawMail), Text: &text},
		"sender":              {Raw: []byte(rawMail), Sender: mail.Address{Email: "s@b"}},
		"alternatives":        {Raw: []byte(rawMail), Alternatives: []Alternative{{ContentType: "text/x"}}},
		"headers.X-A":         {From: mail.Address{Email: "a@b"}, To: []mail.Address{{Email: "c@d"}}, Text: &text, Headers: map[string]Values{"X-A": {}}},
		"headers.X-B":         {From: mail.Address{Email: "a@b"}, To: []mail.Address{{Email: "c@d"}}, Text: &text, Headers: map[string]Values{"X-B": {"\xff"}}},
		"subject":             {Raw: []byte(rawMail), Subject: "Hello"},
		"envelope.rcpt_to[0]": {Raw: []byte(rawMail), Envelope: &Path{RcptTo: []string{"A <a@b>"}}},
		"header Mail-To":      {Raw: []byte(rawMail), Envelope: &Path{RcptTo: []string{"x"}}},
		"metadata.":           {Raw: []byte(rawMail), Metadata: map[string]string{"": "v"}},
		"id":                  {Raw: []byte(rawMail), ID: " x"},
		"message":             {Raw: []byte{}},
		"tags[1]":             {From: mail.Address{Email: "a@b"}, To: []mail.Address{{Email: "c@d"}}, Text: &text, Tags: []string{"a", "\xff"}},
	} {
		header, body, err := e.Encode()
		if err == nil {
			_, err = Decode(header, body)
		}
		bad, ok := errors.AsType[*EnvelopeError](err)
		if !ok || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
		if strings.Contains(field, "[1]") && !strings.Contains(bad.Problem, "UTF-8") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

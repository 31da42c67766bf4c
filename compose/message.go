// Package compose writes the bytes of a mail from an envelope: RFC 5322 with
// MIME, CRLF line ends, the same bytes at each attempt, and 7-bit wherever no
// local part of a header's address needs UTF-8. A mail that came whole it
// leaves as it is, but for Bcc and line ends.
//
// It signs nothing and knows neither the relay nor what the relay can do.
package compose

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// Letter is a mail as it goes over the wire, without dot-stuffing.
type Message struct {
	// Size is the number of bytes.
	Size int64
	// EightBit: the bytes are not all below 128.
	EightBit bool
	// UTF8: the header has UTF-8 in it, so that the mail needs SMTPUTF8 (RFC
	// 6531). Of what is composed here that is a local part beyond ASCII. Addresses of the SMTP envelope that stand
	// in no header (Bcc, rcpt_to, mail_from) are not looked at.
	UTF8 bool
	// MessageID is the mail's Message-ID, without its angle brackets; empty where
	// a mail that came whole has none.
	MessageID string

	bytes []byte
}

// Open returns the bytes from their beginning; it never fails. A *Message is a
// [mail.Body].
func (m *Message) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.bytes)), nil
}

// Compose writes the mail of an envelope. origin names the message (see
// [schema.Origin]) and makes its Message-ID; at is when it was enqueued and
// makes its Date. A Message-ID or Date among the envelope's headers wins.
//
// The same three arguments give the same bytes; the letter may share them with
// the envelope. The error is a [*schema.EnvelopeError]: the envelope breaks a
// rule.
func Compose(e *schema.Envelope, origin string, at time.Time) (*Message, error) {
	// Everything below relies on what Validate holds to: above all, that no
	// address and no header's name can break out of its line.
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if e.Raw != nil {
		return composeRaw(e.Raw)
	}
	var h header
	h.b.Grow(sizeOf(e))
	h.date(e, at)
	h.addresses("From", "from", []mail.Address{e.From})
	h.addresses("To", "to", e.To)
	h.addresses("Cc", "cc", e.Cc)
	h.addresses("Reply-To", "reply_to", e.ReplyTo)
	if e.Subject != "" {
		h.text("Subject", e.Subject, lineLength-len("Subject: "))
	}
	id := h.messageID(e, origin)
	h.others(e.Headers)
	h.literal("MIME-Version", "1.0")
	content(e, mail.Token(origin))(&h)
	if h.err != nil {
		return nil, h.err
	}
	b := h.bytes()
	return &Message{Size: int64(len(b)), EightBit: h.utf8, UTF8: h.utf8, MessageID: id, bytes: b}, nil
}

// sizeOf is about what the mail will take.
func sizeOf(e *schema.Envelope) int {
	n := 1024 + 80*(len(e.To)+len(e.Cc))
	for _, s := range []*string{e.Text, e.HTML} {
		if s != nil {
			n += len(*s) + len(*s)/8
		}
	}
	for i := range e.Attachments {
		n += 512 + len(e.Attachments[i].Content)*4/3 + len(e.Attachments[i].Content)/28
	}
	return n
}

// date writes RFC 5322 section 3.6.1.
func (h *header) date(e *schema.Envelope, at time.Time) {
	const name = "Date"
	if given := given(e.Headers, name); given != "" {
		h.literal(name, given)
		return
	}
	h.literal(name, at.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
}

// others writes the producer's own fields, sorted by name.
func (h *header) others(headers map[string]string) {
	names := slices.SortedFunc(maps.Keys(headers), func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})
	for _, name := range names {
		if !strings.EqualFold(name, "Date") && !strings.EqualFold(name, "Message-ID") {
			h.text(name, headers[name], longestWord)
		}
	}
}

// given is the value of the producer's field of that name.
func given(headers map[string]string, name string) string {
	for k, v := range headers { // at most one: Validate refuses two spellings
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// Package compose makes an RFC 5322 message from an envelope: with MIME and CRLF
// line ends, the same bytes at every attempt, and in 7 bits unless the local part
// of an address in the header needs UTF-8 or a message is attached that has more. In a raw message it takes Bcc fields out,
// adds a missing Date and Message-ID, and makes line ends CRLF.
//
// It signs nothing, and knows neither the relay nor the relay's extensions.
package compose

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// Message is an RFC 5322 message as SMTP sends it, without dot-stuffing.
type Message struct {
	// Size is the number of bytes.
	Size int64
	// EightBit: the bytes are not all below 128.
	EightBit bool
	// UTF8: an address in the header is beyond ASCII, so that the message needs
	// SMTPUTF8 (RFC 6531): a local part, or any address in a raw message. Addresses
	// that are in no header (Bcc, rcpt_to, mail_from) do not count.
	UTF8 bool
	// MessageID is the message's Message-ID, without its angle brackets; empty if a
	// raw message has none and must not get one.
	MessageID string

	bytes []byte
}

// Open returns the bytes from their beginning; it never fails. A *Message is a
// [mail.Body].
func (m *Message) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.bytes)), nil
}

// Compose makes the message of an envelope. Its Message-ID derives from origin, the
// time and sequence of the envelope's acceptance, and its Date is at, the enqueue
// time, or SendAt if that is later: readers sort by it. A Message-ID or Date among the envelope's headers, or in a raw message, takes
// precedence.
//
// The same three arguments give the same bytes, which the message may share with
// the envelope. The error is a [*schema.EnvelopeError]: the envelope breaks a rule.
func Compose(e *schema.Envelope, origin string, at time.Time) (*Message, error) {
	// Everything below relies on what Validate checks: above all, that no address
	// and no header's name can break out of its line.
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if e.SendAt.After(at) {
		at = e.SendAt
	}
	if e.Raw != nil {
		return composeRaw(e, origin, at)
	}
	var h header
	h.b.Grow(sizeOf(e))
	h.date(e, at)
	h.addresses("From", "from", []mail.Address{e.From})
	if e.Sender != (mail.Address{}) {
		h.addresses("Sender", "sender", []mail.Address{e.Sender})
	}
	h.addresses("To", "to", e.To)
	h.addresses("Cc", "cc", e.Cc)
	if len(e.To)+len(e.Cc) == 0 {
		// RFC 5322 section 3.6.3 does without. Filters do not.
		h.literal("To", "undisclosed-recipients:;")
	}
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
	return &Message{Size: int64(len(b)), EightBit: h.utf8 || h.eightBit, UTF8: h.utf8, MessageID: id, bytes: b}, nil
}

// sizeOf is about the size of the message.
func sizeOf(e *schema.Envelope) int {
	n := 1024 + 80*(len(e.To)+len(e.Cc))
	for _, s := range []*string{e.Text, e.HTML} {
		if s != nil {
			n += len(*s) + len(*s)/8
		}
	}
	for i := range e.Alternatives {
		n += 512 + len(e.Alternatives[i].Content)*4/3
	}
	for i := range e.Attachments {
		n += 512 + len(e.Attachments[i].Content)*4/3 + len(e.Attachments[i].Content)/28
	}
	return n
}

// date writes Date (RFC 5322 section 3.6.1).
func (h *header) date(e *schema.Envelope, at time.Time) {
	const name = "Date"
	if given := given(e.Headers, name); given != "" {
		h.literal(name, given)
		return
	}
	h.dated(at)
}

func (h *header) dated(at time.Time) {
	h.literal("Date", at.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
}

// others writes the producer's own fields, sorted by name.
func (h *header) others(headers map[string]schema.Values) {
	names := slices.SortedFunc(maps.Keys(headers), func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})
	for _, name := range names {
		if !strings.EqualFold(name, "Date") && !strings.EqualFold(name, "Message-ID") {
			for i, v := range headers[name] {
				field := "headers." + name
				if len(headers[name]) > 1 {
					field += "[" + strconv.Itoa(i) + "]"
				}
				h.own(field, name, v)
			}
		}
	}
}

// given is the value of the producer's field of that name, or empty.
func given(headers map[string]schema.Values, name string) string {
	for k, v := range headers { // at most one: Validate refuses two spellings
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

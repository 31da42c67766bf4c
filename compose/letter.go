// Package compose writes the bytes of a mail from an envelope: RFC 5322 with
// MIME, CRLF line ends, the same bytes at each attempt, and 7-bit wherever no
// local part of a header's address needs UTF-8.
//
// It writes text only, signs nothing and knows neither the relay nor what the
// relay can do.
package compose

import (
	"bytes"
	"io"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/schema"
)

// Letter is a mail as it goes over the wire, without dot-stuffing.
type Letter struct {
	// Size is the number of bytes.
	Size int64
	// EightBit: the bytes are not all below 128.
	EightBit bool
	// UTF8: an address in the header has a local part beyond ASCII, so that the
	// mail needs SMTPUTF8 (RFC 6531). Addresses of the SMTP envelope that stand
	// in no header (Bcc, rcpt_to, mail_from) are not looked at.
	UTF8 bool
	// MessageID is the mail's Message-ID, without its angle brackets.
	MessageID string

	bytes []byte
}

// Reader gives the letter from its beginning, anew at each call.
func (l *Letter) Reader() io.Reader { return bytes.NewReader(l.bytes) }

// Compose writes the mail of an envelope. origin names the message (see
// [schema.Origin]) and makes its Message-ID; at is when it was enqueued and
// makes its Date. A Message-ID or Date among the envelope's headers wins.
//
// The same three arguments give the same bytes. The error is a
// [*schema.EnvelopeError]: the envelope breaks a rule, or has a domain that
// cannot be written in ASCII, or a Message-ID or Date that is none.
func Compose(e *schema.Envelope, origin string, at time.Time) (*Letter, error) {
	// Everything below relies on what Validate holds to: above all, that no
	// address and no header's name can break out of its line.
	if err := e.Validate(); err != nil {
		return nil, err
	}
	var h header
	h.date(e, at)
	h.addresses("From", "from", []schema.Address{e.From})
	h.addresses("To", "to", e.To)
	h.addresses("Cc", "cc", e.Cc)
	h.addresses("Reply-To", "reply_to", e.ReplyTo)
	if e.Subject != "" {
		h.text("Subject", e.Subject, lineLength-len("Subject: "))
	}
	id := h.messageID(e, origin)
	h.others(e.Headers)
	encoding, body := encodeText(*e.Text)
	h.literal("MIME-Version", "1.0")
	h.literal("Content-Type", "text/plain; charset=utf-8")
	h.literal("Content-Transfer-Encoding", encoding)
	if h.err != nil {
		return nil, h.err
	}
	b := slices.Concat(h.bytes(), []byte("\r\n"), body)
	return &Letter{Size: int64(len(b)), EightBit: h.utf8, UTF8: h.utf8, MessageID: id, bytes: b}, nil
}

// date writes RFC 5322 section 3.6.1.
func (h *header) date(e *schema.Envelope, at time.Time) {
	const name = "Date"
	key, given := given(e.Headers, name)
	if given == "" {
		h.literal(name, at.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
		return
	}
	if _, err := mail.ParseDate(given); err != nil || len(given) > lineLength || !isPrintable(given) {
		h.fail("headers."+key, "%q is not a date like \"Mon, 02 Jan 2006 15:04:05 +0000\" (RFC 5322 section 3.3)", schema.Cut(given, 80))
		return
	}
	h.literal(name, given)
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

// given is the field of that name as the producer wrote it, and its value.
func given(headers map[string]string, name string) (key, value string) {
	for k, v := range headers { // at most one: Validate refuses two spellings
		if strings.EqualFold(k, name) {
			return k, v
		}
	}
	return "", ""
}

package schema

import (
	"iter"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postrider/postrider/mail"
)

// Limits of an envelope.
const (
	MaxRecipients = 1000
	MaxIDBytes    = 256
	// MaxProducerHeaders is the size that a producer's NATS headers may have, in
	// bytes. A copy has them beside its own.
	MaxProducerHeaders = 12 << 10
	// MaxSpread is the limit for the number of recipients times the size, in bytes:
	// what the store would hold if all recipients were split.
	MaxSpread = 256 << 20
	// MaxReceived is the number of Received fields above which a message is assumed
	// to loop (RFC 5321 section 6.3).
	MaxReceived = 50
	// MaxAttachments is the number of attachments, inline ones included.
	MaxAttachments = 100
	// MaxAlternatives is the number of alternatives beside text and HTML.
	MaxAlternatives = 10
)

// Limits of the strings in an envelope, in characters, as JSON Schema counts them.
const (
	maxSubject     = 1000
	maxHeaders     = 100
	maxValues      = 100 // of one header
	maxHeaderValue = 8000
	maxFilename    = 255
	maxContentType = 255
	maxContentID   = 250
	maxTags        = 50
	maxTag         = 128
	maxMetadata    = 50
	maxMetaKey     = 128
	maxMetaValue   = 1000
)

// Envelope is what an application publishes: as application/json with the fields
// below, or as message/rfc822, the message itself, with the options in NATS
// headers. [Decode] reads both.
type Envelope struct {
	// ID is for people and for the log. It drops no duplicates: only the NATS header
	// Nats-Msg-Id does, which package submit sets to it.
	ID   string       `json:"id,omitempty"`
	From mail.Address `json:"from,omitzero"`
	// Sender is who sends for From, and gets the bounces unless Envelope says else.
	Sender  mail.Address   `json:"sender,omitzero"`
	To      []mail.Address `json:"to,omitempty"`
	Cc      []mail.Address `json:"cc,omitempty"`
	Bcc     []mail.Address `json:"bcc,omitempty"`
	ReplyTo []mail.Address `json:"reply_to,omitempty"`
	Subject string         `json:"subject,omitempty"`
	// Text and HTML: at least one of them, unless there is a Raw.
	Text *string `json:"text,omitzero"`
	HTML *string `json:"html,omitzero"`
	// Alternatives say the same as Text and HTML in other ways.
	Alternatives []Alternative     `json:"alternatives,omitempty"`
	Headers      map[string]Values `json:"headers,omitempty"`
	Attachments  []Attachment      `json:"attachments,omitempty"`
	// Raw is a message that is sent as it is, except for Bcc and line ends. From,
	// To, Cc and Bcc are then for the SMTP envelope only. If they are empty, Decode
	// fills them in from the message, and also Subject, for readers of the log.
	Raw  []byte   `json:"raw,omitzero"`
	Tags []string `json:"tags,omitempty"`
	// Tenant is who the mail belongs to. It must be the tenant in the subject.
	Tenant   string            `json:"tenant,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// SendAt is when to send first. A time in the past means now.
	SendAt time.Time `json:"send_at,omitzero"`
	// ExpiresAt is when to give up.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Relay is the name of the relay to use, see [Envelope.CheckRelay].
	Relay string `json:"relay,omitempty"`
	// MaxAttempts is 1 to 100; 0 leaves it to the worker.
	MaxAttempts int   `json:"max_attempts,omitzero"`
	Envelope    *Path `json:"envelope,omitempty"`
}

// Values are those of a header field, which may be there more than once.
type Values []string

// MarshalJSONTo writes one value as a string, and several as a list.
func (v Values) MarshalJSONTo(enc *jsontext.Encoder) error {
	if len(v) == 1 {
		return enc.WriteToken(jsontext.String(v[0]))
	}
	return json.MarshalEncode(enc, []string(v))
}

// Alternative is a text of another type, like an invitation in text/calendar.
type Alternative struct {
	// ContentType is a media type text/*, like text/calendar; method=REQUEST. Its
	// charset is UTF-8.
	ContentType string `json:"content_type"`
	Content     string `json:"content"`
}

// Attachment is a file in a mail. A message/rfc822 is sent as it is, not in base64.
type Attachment struct {
	// Filename is a name without a directory. It is required if there is no
	// ContentID.
	Filename string `json:"filename,omitempty"`
	// Content is the file's bytes. It must not be nil, but may be empty.
	Content []byte `json:"content,omitzero"`
	// ContentType is the media type, like text/csv; if empty, the extension of
	// Filename decides.
	ContentType string `json:"content_type,omitempty"`
	// ContentID is its name in the HTML, as in <img src="cid:logo">.
	ContentID string `json:"content_id,omitempty"`
}

// Path is the SMTP envelope, if it differs from the header fields.
type Path struct {
	// MailFrom is the reverse path; empty for the null path, nil for Sender or else
	// From.
	MailFrom *string  `json:"mail_from,omitempty"`
	RcptTo   []string `json:"rcpt_to,omitempty"`
}

// ReversePath is what MAIL FROM says; empty for the null path.
func (e *Envelope) ReversePath() string {
	if e.Envelope != nil && e.Envelope.MailFrom != nil {
		return *e.Envelope.MailFrom
	}
	if e.Sender != (mail.Address{}) {
		return e.Sender.Email
	}
	return e.From.Email
}

// recipientCount is the length of Recipients.
func (e *Envelope) recipientCount() int {
	if e.Envelope != nil && len(e.Envelope.RcptTo) > 0 {
		return len(e.Envelope.RcptTo)
	}
	return len(e.To) + len(e.Cc) + len(e.Bcc)
}

// Recipients are those of rcpt_to or, without it, of to, cc and bcc in that order,
// each mailbox once. The indexes count repeated mailboxes too.
func (e *Envelope) Recipients() []mail.Recipient {
	r := make([]mail.Recipient, 0, e.recipientCount())
	known := make(map[string]bool, cap(r))
	for i, address := range e.Named() {
		if box := mail.Normalize(address); !known[box] {
			known[box] = true
			r = append(r, mail.Recipient{Index: i, Address: address})
		}
	}
	return r
}

// At is the recipient with that index; false if there is none.
func (e *Envelope) At(index int) (mail.Recipient, bool) {
	for i, address := range e.Named() {
		if i == index {
			return mail.Recipient{Index: i, Address: address}, true
		}
	}
	return mail.Recipient{}, false
}

// Named yields the recipients' indexes and addresses, repeated mailboxes too.
func (e *Envelope) Named() iter.Seq2[int, string] {
	if e.Envelope != nil && len(e.Envelope.RcptTo) > 0 {
		return slices.All(e.Envelope.RcptTo)
	}
	return func(yield func(int, string) bool) {
		i := 0
		for _, list := range [][]mail.Address{e.To, e.Cc, e.Bcc} {
			for _, a := range list {
				if !yield(i, a.Email) {
					return
				}
				i++
			}
		}
	}
}

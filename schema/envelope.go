package schema

import (
	"iter"
	"slices"
	"time"

	"github.com/postrider/postrider/mail"
)

// Limits of an envelope.
const (
	MaxRecipients = 1000
	MaxIDBytes    = 256
	// MaxProducerHeaders is what a producer's NATS headers may take, in bytes;
	// a copy has to carry them beside its own.
	MaxProducerHeaders = 12 << 10
	// MaxSpread is the recipients of a message times its size, in bytes: what
	// the store would have to hold if each of them went its own way.
	MaxSpread = 256 << 20
	// MaxReceived is the number of Received fields above which a message is held
	// to go in a circle (RFC 5321 section 6.3).
	MaxReceived = 50
	// MaxAttachments is the number of attachments, inline ones included.
	MaxAttachments = 100
)

// Limits of the strings in an envelope, in characters, as JSON Schema counts them.
const (
	maxSubject     = 1000
	maxHeaders     = 100
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

// Envelope is what an application publishes: as application/json the fields
// below, or as message/rfc822 the mail itself, with options in NATS headers.
// [Decode] reads both.
type Envelope struct {
	ID      string         `json:"id,omitempty"`
	From    mail.Address   `json:"from,omitzero"`
	To      []mail.Address `json:"to,omitempty"`
	Cc      []mail.Address `json:"cc,omitempty"`
	Bcc     []mail.Address `json:"bcc,omitempty"`
	ReplyTo []mail.Address `json:"reply_to,omitempty"`
	Subject string         `json:"subject,omitempty"`
	// Text and HTML: one of them at least, where there is no Raw.
	Text        *string           `json:"text,omitzero"`
	HTML        *string           `json:"html,omitzero"`
	Headers     map[string]string `json:"headers,omitempty"`
	Attachments []Attachment      `json:"attachments,omitempty"`
	// Raw is a whole mail that is sent as it is but for Bcc and line ends. From,
	// To, Cc and Bcc then name only whom the SMTP envelope names; where they are
	// left out, Decode fills them in from the mail, and Subject for those who
	// look at the log.
	Raw  []byte   `json:"raw,omitzero"`
	Tags []string `json:"tags,omitempty"`
	// Tenant is whose mail it is. It has to be the tenant that the subject names.
	Tenant   string            `json:"tenant,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// SendAt is when to send first; a time that has passed means now.
	SendAt time.Time `json:"send_at,omitzero"`
	// ExpiresAt is when to give up.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Relay is the name of the relay to use, see [Envelope.CheckRelay].
	Relay string `json:"relay,omitempty"`
	// MaxAttempts is 1 to 100; 0 leaves it to the worker.
	MaxAttempts int   `json:"max_attempts,omitzero"`
	Envelope    *Path `json:"envelope,omitempty"`
}

// Attachment is a file that goes with a mail.
type Attachment struct {
	// Filename is a name without a directory. It may be missing where there is
	// a ContentID.
	Filename string `json:"filename,omitempty"`
	// Content is the file; nil is none, which is refused.
	Content []byte `json:"content,omitzero"`
	// ContentType is what it is, like text/csv; empty: by the name's extension.
	ContentType string `json:"content_type,omitempty"`
	// ContentID is what the HTML calls it, as in <img src="cid:logo">.
	ContentID string `json:"content_id,omitempty"`
}

// Path is the SMTP envelope where it differs from the header fields.
type Path struct {
	// MailFrom is the reverse path; empty for the null path, nil for From.
	MailFrom *string  `json:"mail_from,omitempty"`
	RcptTo   []string `json:"rcpt_to,omitempty"`
}

// ReversePath is what MAIL FROM says; empty for the null path.
func (e *Envelope) ReversePath() string {
	if e.Envelope != nil && e.Envelope.MailFrom != nil {
		return *e.Envelope.MailFrom
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

// Recipients are those of rcpt_to, or of to, cc and bcc in that order, each
// mailbox once. An index counts what is named again too.
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

// Named yields each recipient's address as often as it is named, by its index.
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

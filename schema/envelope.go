package schema

import (
	"time"
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
)

// Envelope is what an application publishes, as application/json.
type Envelope struct {
	ID       string            `json:"id,omitempty"`
	From     Address           `json:"from"`
	To       []Address         `json:"to,omitempty"`
	Cc       []Address         `json:"cc,omitempty"`
	Bcc      []Address         `json:"bcc,omitempty"`
	ReplyTo  []Address         `json:"reply_to,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Text     *string           `json:"text,omitzero"`
	Headers  map[string]string `json:"headers,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// SendAt is when to send first; a time that has passed means now.
	SendAt time.Time `json:"send_at,omitzero"`
	// ExpiresAt is when to give up.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// MaxAttempts is 1 to 100; 0 leaves it to the worker.
	MaxAttempts int   `json:"max_attempts,omitempty"`
	Envelope    *Path `json:"envelope,omitempty"`
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

// Recipients are those of rcpt_to, or of to, cc and bcc in that order.
func (e *Envelope) Recipients() []Recipient {
	var r []Recipient
	if e.Envelope != nil && len(e.Envelope.RcptTo) > 0 {
		for i, a := range e.Envelope.RcptTo {
			r = append(r, Recipient{Index: i, Address: a})
		}
		return r
	}
	for _, list := range [][]Address{e.To, e.Cc, e.Bcc} {
		for _, a := range list {
			r = append(r, Recipient{Index: len(r), Address: a.Email})
		}
	}
	return r
}

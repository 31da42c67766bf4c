package mail

import (
	"io"
	"time"
)

// Class says what an outcome means for one recipient. It is decided when the reply
// is read, and never parsed from a text later.
type Class string

const (
	// Delivered: the relay accepted the message for this recipient; no more is known.
	Delivered Class = "delivered"
	// Deferred: a temporary reply. It counts as an attempt.
	Deferred Class = "deferred"
	// Failed: a permanent reply. It counts as an attempt.
	Failed Class = "failed"
	// Requeued: the relay or the worker is at fault, not the message. It does not
	// count.
	Requeued Class = "requeued"
	// Uncertain: no reply came after the final dot. It counts as an attempt.
	Uncertain Class = "uncertain"
	// Pending: not tried in this transaction; it wants another one now.
	Pending Class = "pending"
)

// Counted reports whether an outcome uses up one of the message's attempts.
func (c Class) Counted() bool {
	return c == Deferred || c == Failed || c == Uncertain || c == Delivered
}

// Stage is the step of the SMTP dialogue an outcome comes from.
type Stage string

// The stages, in the order of the dialogue.
const (
	StageConnect  Stage = "connect"
	StageTLS      Stage = "tls"
	StageGreeting Stage = "greeting"
	StageEHLO     Stage = "ehlo"
	StageAuth     Stage = "auth"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data"
	StageBody     Stage = "body"
	StageDot      Stage = "dot"
	// StageLocal: not the relay but the worker, or the message itself, is at fault.
	StageLocal Stage = "local"
)

// Outcome is the result for one recipient of one transaction.
type Outcome struct {
	Class Class
	Stage Stage
	// Code is the reply's three digits; 0 if there was no reply.
	Code int
	// Enhanced is the enhanced status code as sent ("4.7.1"), or empty (RFC 3463).
	Enhanced string
	// Reply is the reply's text, its lines joined by " / ", or an error if there
	// was no reply. At most [MaxReply] bytes.
	Reply string
	// QueueID is the relay's name for what it accepted; empty if it said none.
	QueueID string
}

// MaxReply is the length in bytes to which a reply is cut in records and logs.
const MaxReply = 256

// Recipient is one recipient of a message.
type Recipient struct {
	// Index is the recipient's position, from 0, in to, cc and bcc as written, or in
	// rcpt_to.
	Index int
	// Address is the addr-spec, without name or angle brackets (RFC 5321 section 4.1.2).
	Address string
}

// Body is where a message's bytes come from. They need not fit in memory.
type Body interface {
	// Open returns the bytes from their beginning, the same ones at every call:
	// RFC 5322, CRLF line ends, no dot-stuffing, ending in CRLF. The caller
	// closes what it gets. An SMTP session waits for each Read, so a Read must
	// fail in the end and not block for ever.
	Open() (io.ReadCloser, error)
}

// Message is what a relay is given for one transaction.
type Message struct {
	// ID is for logs. Several messages may have the same.
	ID string
	// Key tells the message from all others; if it is empty, ID does.
	Key string
	// From is the reverse path; empty for the null path.
	From       string
	Recipients []Recipient
	// Body has the message's bytes, Size their number.
	Body Body
	Size int64
	// EightBit: the bytes are not all below 128.
	EightBit bool
	// UTF8: a header or an address needs SMTPUTF8 (RFC 6531).
	UTF8 bool
	// Permit is called right before the final dot. If it returns an error, the dot
	// is not sent and the session is closed. Nil permits.
	Permit func() error
}

// Transaction is what happened in one SMTP transaction.
type Transaction struct {
	At      time.Time
	Relay   string
	Session string
	// Use counts the transactions of the session, from 1.
	Use int
	// Connect is the time from dialing to a session that is ready; 0 if the session
	// was used before.
	Connect time.Duration
	// Data is the time from MAIL to the last byte of the body.
	Data time.Duration
	// Dot is the time from the final dot to its reply.
	Dot time.Duration
	// Down reports that the relay is not to be used for now: what was requeued is
	// its own fault, not that of a recipient.
	Down bool
	// Later reports that what was requeued may have to wait for long, while the relay works
	// for others: it must not be the next that is tried, nor count as in flight.
	Later bool
	// Outcomes has one for each of the message's recipients, in their order. If the
	// session ends at RCPT, only the recipient it ended at is requeued at that stage;
	// the others are pending.
	Outcomes []Outcome
}

package schema

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lastTime is the latest time a schedule can hold: the broker counts
// nanoseconds in 64 bits, and what lies beyond would be sent at once.
var lastTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// EnvelopeError says which field of an envelope is wrong and how.
type EnvelopeError struct {
	// Field is the path of the field, like "to[0]" or "headers.X-A"; a NATS
	// header is "header <name>"; empty for the whole.
	Field   string
	Problem string
	// Reason is what a letter with this fault is buried for.
	Reason Reason
}

func (e *EnvelopeError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

func badField(field, format string, args ...any) *EnvelopeError {
	return &EnvelopeError{Field: field, Problem: fmt.Sprintf(format, args...), Reason: ReasonBadEnvelope}
}

// Decode reads and validates what a producer published: its NATS headers and
// its body. The error is an [*EnvelopeError].
func Decode(header map[string][]string, body []byte) (*Envelope, error) {
	if err := checkProducerHeaders(header); err != nil {
		return nil, err
	}
	e, err := decodeJSON(body)
	if err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if n := len(e.Recipients()); int64(n)*int64(len(body)) > MaxSpread {
		return nil, &EnvelopeError{Reason: ReasonTooLarge, Problem: fmt.Sprintf(
			"%d recipients times %d bytes are more than %d MiB: send it in several messages", n, len(body), MaxSpread>>20)}
	}
	return e, nil
}

func decodeJSON(body []byte) (*Envelope, error) {
	var e Envelope
	err := json.Unmarshal(body, &e, json.RejectUnknownMembers(true))
	if err == nil {
		return &e, nil
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if len(body) == 0 {
			return nil, badField("", "the body is empty: an envelope is a JSON object")
		}
		return nil, badField(fieldPath(s.JSONPointer), "not good JSON at byte %d: %v", s.ByteOffset, s.Err)
	}
	if s, ok := errors.AsType[*json.SemanticError](err); ok {
		switch {
		case errors.Is(s.Err, json.ErrUnknownName):
			return nil, badField(fieldPath(s.JSONPointer), "no such field")
		case s.Err != nil:
			return nil, badField(fieldPath(s.JSONPointer), "%v", s.Err)
		}
		return nil, badField(fieldPath(s.JSONPointer), "%s does not fit here", kindName(s.JSONKind))
	}
	return nil, badField("", "%v", err)
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '[':
		return "an array"
	case '{':
		return "an object"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}

// fieldPath writes /to/0/email as to[0].email.
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for t := range p.Tokens() {
		switch {
		case t != "" && strings.Trim(t, "0123456789") == "":
			b.WriteString("[" + t + "]")
		case b.Len() > 0:
			b.WriteString("." + t)
		default:
			b.WriteString(t)
		}
	}
	return strings.ToValidUTF8(Cut(b.String(), 200), "?")
}

// checkProducerHeaders holds the NATS headers of a fresh message to the rules:
// ours are forged, unknown ones of the raw form are mistyped.
func checkProducerHeaders(h map[string][]string) error {
	for name, values := range h {
		switch {
		case HasPrefixFold(name, HeaderPrefix):
			return badField("header "+Cut(name, 64), "headers that begin with %s are the queue's own", HeaderPrefix)
		case HasPrefixFold(name, MailPrefix):
			return badField("header "+Cut(name, 64), "not known for a JSON envelope")
		case strings.EqualFold(name, HeaderContentType):
			for _, v := range values {
				if err := checkContentType(v); err != nil {
					return err
				}
			}
		}
	}
	if size := headerSize(ProducerHeaders(h)); size > MaxProducerHeaders {
		return badField("headers", "the NATS headers take %d bytes, at most %d are allowed", size, MaxProducerHeaders)
	}
	return nil
}

func checkContentType(v string) error {
	t, _, err := mime.ParseMediaType(v)
	if err != nil || t != "application/json" {
		return badField("header "+HeaderContentType, "%q is not application/json", Cut(v, 64))
	}
	return nil
}

// Validate reports the first rule that the envelope breaks, as an [*EnvelopeError].
func (e *Envelope) Validate() error {
	for _, check := range []func() error{e.checkID, e.checkAddresses, e.checkRecipients, e.checkTexts, e.checkHeaders, e.checkTimes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// ValidateID reports why s cannot be a message's id.
func ValidateID(s string) error {
	switch {
	case len(s) > MaxIDBytes:
		return fmt.Errorf("the id has %d bytes, at most %d are allowed", len(s), MaxIDBytes)
	case hasControl(s):
		return errors.New("the id holds a control character or a line break")
	case strings.TrimSpace(s) != s:
		return errors.New("the id begins or ends with a space")
	}
	return nil
}

func (e *Envelope) checkID() error {
	if err := ValidateID(e.ID); err != nil {
		return badField("id", "%v", err)
	}
	return nil
}

func (e *Envelope) checkAddresses() error {
	if err := e.From.Validate(); err != nil {
		return badField("from", "%v", err)
	}
	for field, list := range map[string][]Address{"to": e.To, "cc": e.Cc, "bcc": e.Bcc, "reply_to": e.ReplyTo} {
		for i, a := range list {
			if err := a.Validate(); err != nil {
				return badField(fmt.Sprintf("%s[%d]", field, i), "%v", err)
			}
		}
	}
	if e.Envelope == nil {
		return nil
	}
	if f := e.Envelope.MailFrom; f != nil && *f != "" {
		if err := ValidateAddrSpec(*f); err != nil {
			return badField("envelope.mail_from", "%v", err)
		}
	}
	for i, a := range e.Envelope.RcptTo {
		if err := ValidateAddrSpec(a); err != nil {
			return badField(fmt.Sprintf("envelope.rcpt_to[%d]", i), "%v", err)
		}
	}
	return nil
}

func (e *Envelope) checkRecipients() error {
	switch n := len(e.Recipients()); {
	case n == 0:
		return badField("to", "no recipient: name one in to, cc, bcc or envelope.rcpt_to")
	case n > MaxRecipients:
		return badField("to", "%d recipients, at most %d are allowed", n, MaxRecipients)
	}
	return nil
}

func (e *Envelope) checkTexts() error {
	if hasControl(e.Subject) {
		return badField("subject", "holds a control character or a line break")
	}
	if e.Text == nil {
		return badField("text", "missing: a mail has a text, be it empty")
	}
	if strings.Contains(*e.Text, "\x00") {
		return badField("text", "holds a NUL")
	}
	for i, t := range e.Tags {
		if hasControl(t) {
			return badField(fmt.Sprintf("tags[%d]", i), "holds a control character or a line break")
		}
	}
	for k, v := range e.Metadata {
		if strings.Contains(k+v, "\x00") {
			return badField("metadata", "holds a NUL")
		}
	}
	if e.MaxAttempts < 0 || e.MaxAttempts > 100 {
		return badField("max_attempts", "%d is not 1 to 100", e.MaxAttempts)
	}
	return nil
}

// reservedHeaders are set from the envelope's own fields, or by the relay.
var reservedHeaders = []string{"from", "to", "cc", "bcc", "sender", "return-path", "received", "mime-version", "subject", "reply-to"}

func (e *Envelope) checkHeaders() error {
	seen := make(map[string]bool, len(e.Headers))
	for name, value := range e.Headers {
		field := "headers." + strings.ToValidUTF8(Cut(name, 64), "?")
		low := strings.ToLower(name)
		switch {
		case !validFieldName(name):
			return badField(field, "not a header field's name (RFC 5322 section 3.6.8)")
		case slices.Contains(reservedHeaders, low), strings.HasPrefix(low, "content-"):
			return badField(field, "set by the envelope's own fields")
		case seen[low]:
			return badField(field, "given twice, in different case")
		case hasControl(value):
			return badField(field, "holds a control character or a line break")
		}
		seen[low] = true
	}
	return nil
}

// validFieldName holds to RFC 5322 section 3.6.8: printable ASCII without a colon.
func validFieldName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return true
}

func (e *Envelope) checkTimes() error {
	for field, t := range map[string]time.Time{"send_at": e.SendAt, "expires_at": e.ExpiresAt} {
		if !t.IsZero() && (t.After(lastTime) || t.Year() < 1970) {
			return badField(field, "%s is not between 1970 and 2261", t.Format(time.RFC3339))
		}
	}
	if !e.ExpiresAt.IsZero() && e.ExpiresAt.Before(e.SendAt) {
		return badField("expires_at", "lies before send_at")
	}
	return nil
}

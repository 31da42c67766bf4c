package schema

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postrider/postrider/mail"
)

// Encode writes the envelope as a producer publishes it, NATS headers and body,
// so that [Decode] reads the same. It checks no rules: Decode does.
//
// An envelope with Raw becomes a message/rfc822, with the rest in headers. If
// they cannot hold the rest it becomes JSON, as all other envelopes do. The error
// is an [*EnvelopeError]: a string is not valid UTF-8, or a time has no RFC 3339
// form.
func (e *Envelope) Encode() (header map[string][]string, body []byte, err error) {
	if header, ok := e.messageHeaders(); ok {
		return header, e.Raw, nil
	}
	body, err = json.Marshal(e)
	if err != nil {
		return nil, nil, unencodable(err)
	}
	return nil, body, nil
}

// unencodable names the field that JSON cannot hold.
func unencodable(err error) *EnvelopeError {
	if s, ok := errors.AsType[*json.SemanticError](err); ok && s.Err != nil {
		return badField(fieldPath(s.JSONPointer), "cannot be written as JSON: %v", s.Err)
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return badField(fieldPath(s.JSONPointer), "cannot be written as JSON: %v", s.Err)
	}
	return badField("", "cannot be written as JSON: %v", err)
}

// messageHeaders are the NATS headers beside the raw form; false if the envelope
// has no Raw, or something that headers cannot hold.
func (e *Envelope) messageHeaders() (map[string][]string, bool) {
	if e.Raw == nil || e.Subject != "" || e.Text != nil || e.HTML != nil || len(e.ReplyTo) > 0 || len(e.Headers) > 0 || len(e.Attachments) > 0 ||
		len(e.Alternatives) > 0 || e.Sender != (mail.Address{}) {
		return nil, false
	}
	h := messageHeaders{values: map[string][]string{HeaderContentType: {TypeMessage}}, names: make(map[string]bool)}
	h.optional(HeaderMailID, e.ID)
	h.paths(e)
	h.time(HeaderSendAt, e.SendAt)
	h.time(HeaderExpiresAt, e.ExpiresAt)
	h.optional(HeaderRelay, e.Relay)
	h.optional(HeaderTenant, e.Tenant)
	if e.MaxAttempts != 0 {
		h.set(HeaderMaxAttempts, strconv.Itoa(e.MaxAttempts))
	}
	h.set(HeaderTag, e.Tags...)
	for k, v := range e.Metadata {
		h.set(HeaderMeta+k, v)
	}
	return h.values, !h.unfit && HeaderSize(h.values) <= MaxProducerHeaders
}

// messageHeaders collects the headers of the raw form.
type messageHeaders struct {
	values map[string][]string
	names  map[string]bool // in lower case
	// unfit: a header would not be read as it was written.
	unfit bool
}

func (h *messageHeaders) set(name string, values ...string) {
	if len(values) == 0 {
		return
	}
	low := strings.ToLower(name)
	h.unfit = h.unfit || h.names[low] || !Writable(name) || name == HeaderMeta
	for _, v := range values {
		// Clients trim values, and a line break begins another header.
		h.unfit = h.unfit || strings.TrimSpace(v) != v || strings.ContainsAny(v, "\r\n")
	}
	h.names[low] = true
	h.values[name] = values
}

func (h *messageHeaders) optional(name, value string) {
	if value != "" {
		h.set(name, value)
	}
}

func (h *messageHeaders) time(name string, t time.Time) {
	if !t.IsZero() {
		h.set(name, t.Format(time.RFC3339Nano))
	}
}

// paths sets what the SMTP envelope names: the sender, and the recipients as
// [Envelope.Named] has them, so that their indexes stay the same.
func (h *messageHeaders) paths(e *Envelope) {
	switch {
	case e.Envelope != nil && e.Envelope.MailFrom != nil:
		h.address(HeaderMailFrom, *e.Envelope.MailFrom)
	case e.From != (mail.Address{}):
		h.address(HeaderMailFrom, e.From.Email)
	}
	var to []string
	for _, address := range e.Named() {
		to = append(to, address)
	}
	h.address(HeaderMailTo, to...)
}

// address sets a header that is read as "Name <a@b>" or "a@b"; ours have no name.
func (h *messageHeaders) address(name string, addresses ...string) {
	for _, a := range addresses {
		h.unfit = h.unfit || strings.HasSuffix(a, ">")
	}
	h.set(name, addresses...)
}

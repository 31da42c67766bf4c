package schema

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"

	"github.com/postrider/postrider/mail"
)

// EnvelopeError says which field of an envelope is wrong and how.
type EnvelopeError struct {
	// Field is the path of the field, like "to[0]" or "headers.X-A"; for a NATS
	// header "header <name>"; empty for the envelope itself.
	Field   string
	Problem string
	// Reason is the reason of the dead letter.
	Reason mail.Reason
}

// Error is the field and the problem.
func (e *EnvelopeError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// AsEnvelopeError is err as an error of the envelope.
func AsEnvelopeError(err error) *EnvelopeError {
	if bad, ok := errors.AsType[*EnvelopeError](err); ok {
		return bad
	}
	return &EnvelopeError{Problem: err.Error(), Reason: mail.ReasonBadEnvelope}
}

func badField(field, format string, args ...any) *EnvelopeError {
	// The quoted text may be as large as the message.
	return &EnvelopeError{Field: field, Problem: mail.Cut(fmt.Sprintf(format, args...), mail.MaxError), Reason: mail.ReasonBadEnvelope}
}

// Decode reads and validates what a producer published, in either form: the NATS
// headers and the body. The envelope may share the body's memory. The error is an
// [*EnvelopeError].
func Decode(header map[string][]string, body []byte) (*Envelope, error) {
	o, err := readProducerHeaders(header)
	if err != nil {
		return nil, err
	}
	var e *Envelope
	if o.raw {
		e, err = decodeMessage(o.options, body)
	} else {
		e, err = decodeJSON(body)
	}
	if err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if n := e.recipientCount(); int64(n)*int64(len(body)) > MaxSpread {
		return nil, &EnvelopeError{Reason: mail.ReasonTooLarge, Problem: fmt.Sprintf(
			"%d recipients times %d bytes are more than %d MiB: publish it as several messages", n, len(body), MaxSpread>>20)}
	}
	return e, nil
}

// producerHeaders is what the NATS headers of a producer say.
type producerHeaders struct {
	// raw: the body is the message itself.
	raw bool
	// options are the Mail-* headers, sorted by name.
	options []natsHeader
}

type natsHeader struct {
	name   string
	values []string
}

// readProducerHeaders checks the rules for the NATS headers of a fresh message that
// need no body: headers of our own are forged, and the size is bounded. It reads
// them sorted by name, so that every attempt finds the same recipients and errors.
func readProducerHeaders(h map[string][]string) (producerHeaders, error) {
	var p producerHeaders
	var types []string
	for _, name := range sortedNames(h) {
		switch {
		case name == HeaderUnreadable:
			return p, badField("headers", "the NATS headers cannot be read")
		case !Writable(name):
			return p, badHeader(name, "the name has a space or another character that is not allowed in a header's name")
		case mail.HasPrefixFold(name, HeaderPrefix):
			return p, badHeader(name, "headers that begin with %s are reserved for Postrider", HeaderPrefix)
		case mail.HasPrefixFold(name, MailPrefix):
			p.options = append(p.options, natsHeader{name, h[name]})
		case strings.EqualFold(name, HeaderContentType):
			types = append(types, h[name]...)
		}
	}
	if size := HeaderSize(ProducerHeaders(h)); size > MaxProducerHeaders {
		return p, badField("headers", "the NATS headers have %d bytes, at most %d are allowed", size, MaxProducerHeaders)
	}
	var err error
	if p.raw, err = isRaw(types); err != nil {
		return p, err
	}
	if len(p.options) > 0 && !p.raw {
		return p, p.options[0].besideJSON()
	}
	return p, nil
}

// sortedNames are the names of the headers in the order in which they are read.
func sortedNames(h map[string][]string) []string { return slices.Sorted(maps.Keys(h)) }

// Writable reports whether clients write a header of that name. The broker takes
// other names too, but a copy could not have them.
func Writable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"()/,:;<=>?@[\]{}`, r)
	})
}

func badHeader(name, format string, args ...any) *EnvelopeError {
	return badField("header "+mail.Sentence(name, 64), format, args...)
}

// isRaw tells the two forms apart.
func isRaw(types []string) (bool, error) {
	if len(types) == 0 {
		return false, nil
	}
	t, _, err := mime.ParseMediaType(types[0])
	switch {
	case len(types) > 1:
		return false, badHeader(HeaderContentType, "given %d times", len(types))
	case err == nil && t == TypeJSON:
		return false, nil
	case err == nil && t == TypeMessage:
		return true, nil
	}
	return false, badHeader(HeaderContentType, "%q is neither %s nor %s", mail.Cut(types[0], 64), TypeJSON, TypeMessage)
}

package schema

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
)

// lastTime is the end of the times that a schedule can hold. The broker counts
// nanoseconds in 64 bits; mail for a later time would be sent at once.
var lastTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// jsonField has the field of the JSON form for each header of the raw form.
var jsonField = map[string]string{
	"mail-id": "id", "mail-from": "envelope.mail_from", "mail-to": "to", "mail-send-at": "send_at", "mail-expires-at": "expires_at",
	"mail-relay": "relay", "mail-tenant": "tenant", "mail-max-attempts": "max_attempts", "mail-tag": "tags",
}

// besideJSON is the error of a Mail-* header with the JSON form.
func (h natsHeader) besideJSON() error {
	low := strings.ToLower(h.name)
	field := jsonField[low]
	if key, ok := strings.CutPrefix(low, strings.ToLower(HeaderMeta)); ok && key != "" {
		field = "metadata"
	}
	if field == "" {
		return h.bad("unknown header")
	}
	return h.bad("is for %s; in a JSON envelope use the field %s", TypeMessage, field)
}

func (h natsHeader) bad(format string, args ...any) *EnvelopeError {
	return badHeader(h.name, format, args...)
}

// decodeMessage reads the raw form: a message, and NATS headers instead of the
// fields of the JSON form.
func decodeMessage(options []natsHeader, body []byte) (*Envelope, error) {
	e := &Envelope{Raw: body}
	seen := make(map[string]string, len(options))
	for _, h := range options {
		low := strings.ToLower(h.name)
		if other, twice := seen[low]; twice && low != "mail-to" && low != "mail-tag" {
			return nil, h.bad("given twice, also as %s", mail.Cut(other, 64))
		}
		seen[low] = h.name
		if err := e.setOption(low, h); err != nil {
			return nil, err
		}
	}
	if len(body) == 0 {
		return nil, badField("message", "the body is empty: with Content-Type %s it must be the message itself", TypeMessage)
	}
	return e, e.adopt("message")
}

// setOption sets what one header of the raw form says.
func (e *Envelope) setOption(low string, h natsHeader) error {
	switch low {
	case "mail-to":
		return e.addRecipients(h)
	case "mail-tag":
		for _, v := range h.values {
			if err := validateTag(v); err != nil {
				return h.bad("%v", err)
			}
		}
		if e.Tags = append(e.Tags, h.values...); len(e.Tags) > maxTags {
			return h.bad("given %d times, at most %d are allowed", len(e.Tags), maxTags)
		}
		return nil
	}
	if len(h.values) != 1 {
		return h.bad("given %d times", len(h.values))
	}
	if err := e.setOnce(low, h, h.values[0]); err != nil {
		return h.bad("%v", err)
	}
	return nil
}

// setOnce sets what a header says that may be given once.
func (e *Envelope) setOnce(low string, h natsHeader, v string) (err error) {
	switch low {
	case "mail-id":
		e.ID, err = v, ValidateID(v)
		if v == "" {
			err = errors.New("must not be empty; omit it")
		}
	case "mail-from":
		return e.setSender(v)
	case "mail-send-at":
		e.SendAt, err = parseTime(v)
	case "mail-expires-at":
		if e.ExpiresAt, err = parseTime(v); err == nil {
			err = e.checkExpiry()
		}
	case "mail-tenant":
		e.Tenant, err = v, ValidateName(v)
	case "mail-relay":
		e.Relay, err = v, ValidateName(v)
	case "mail-max-attempts":
		if e.MaxAttempts, err = strconv.Atoi(v); err != nil {
			return fmt.Errorf("%q is not an integer", mail.Cut(v, 40))
		}
		err = validateMaxAttempts(e.MaxAttempts)
	default:
		return setMeta(&e.Metadata, h.name, v)
	}
	return err
}

// setSender sets the sender of Mail-From; empty is the null path.
func (e *Envelope) setSender(v string) error {
	if v == "" {
		e.path().MailFrom = &v
		return nil
	}
	a, err := parseValid(v)
	e.path().MailFrom = &a
	return err
}

func (e *Envelope) addRecipients(h natsHeader) error {
	for i, v := range h.values {
		a, err := parseValid(v)
		if err != nil {
			if len(h.values) > 1 {
				h.name += "[" + strconv.Itoa(i) + "]"
			}
			return h.bad("%v", err)
		}
		e.path().RcptTo = append(e.path().RcptTo, a)
	}
	return nil
}

func setMeta(metadata *map[string]string, name, v string) error {
	if !mail.HasPrefixFold(name, HeaderMeta) || len(name) == len(HeaderMeta) {
		return errors.New("unknown header; known are Mail-Id, Mail-From, Mail-To, Mail-Send-At, Mail-Expires-At, Mail-Relay, Mail-Tenant, Mail-Max-Attempts, Mail-Tag and Mail-Meta-<Key>")
	}
	if *metadata == nil {
		*metadata = make(map[string]string)
	}
	key := name[len(HeaderMeta):]
	(*metadata)[key] = v
	if len(*metadata) > maxMetadata {
		return fmt.Errorf("entry %d of metadata: at most %d are allowed", len(*metadata), maxMetadata)
	}
	return validateMeta(key, v)
}

func (e *Envelope) path() *Path {
	if e.Envelope == nil {
		e.Envelope = new(Path)
	}
	return e.Envelope
}

// parseValid reads an address as a string of the JSON form has it, and returns its
// addr-spec.
func parseValid(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err == nil {
		err = a.Validate()
	}
	return a.Email, err
}

// rfc3339 checks the form: package time also accepts 3:04 and a comma.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseTime reads an RFC 3339 time that a schedule can hold.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !rfc3339.MatchString(s) {
		return t, fmt.Errorf("%q is not an RFC 3339 time like 2030-01-02T15:04:05Z", mail.Cut(s, 40))
	}
	return t, validateTime(t)
}

func validateTime(t time.Time) error {
	if !t.Before(lastTime) || t.UTC().Year() < 1970 {
		return fmt.Errorf("%s is not between 1970 and 2261", t.Format(time.RFC3339))
	}
	return nil
}

package schema

import (
	"errors"
	"fmt"
	"maps"
	netmail "net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
)

// Validate reports the first rule that the envelope breaks, as an
// [*EnvelopeError]. [Decode] calls it, and package compose does for envelopes that
// were not decoded.
func (e *Envelope) Validate() error {
	if err := ValidateID(e.ID); err != nil {
		return badField("id", "%v", err)
	}
	for _, check := range []func() error{
		e.checkAddresses, e.checkRecipients, e.checkTexts, e.checkHeaders, e.checkAttachments, e.checkOptions,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// CheckRelay reports, as an [*EnvelopeError], that the envelope names a relay that
// is not one of known.
func (e *Envelope) CheckRelay(known ...string) error {
	if e.Relay == "" || slices.Contains(known, e.Relay) {
		return nil
	}
	return badField("relay", "no worker has a relay %q; omit it to use the relay there is", mail.Cut(e.Relay, 64))
}

// ValidateID reports why s cannot be a message's id.
func ValidateID(s string) error {
	switch {
	case len(s) > MaxIDBytes:
		return fmt.Errorf("the id has %d bytes, at most %d are allowed", len(s), MaxIDBytes)
	case !utf8.ValidString(s):
		return errors.New("the id is not valid UTF-8")
	case mail.HasControl(s):
		return errors.New("the id contains a control character or a line break")
	case strings.TrimSpace(s) != s:
		return errors.New("the id begins or ends with a space")
	}
	return nil
}

func (e *Envelope) checkAddresses() error {
	if e.Raw == nil || e.From != (mail.Address{}) {
		if err := e.From.Validate(); err != nil {
			return badField("from", "%v", err)
		}
	}
	if e.Sender != (mail.Address{}) {
		if err := e.Sender.Validate(); err != nil {
			return badField("sender", "%v", err)
		}
	}
	for _, l := range []struct {
		field string
		list  []mail.Address
		valid func(mail.Address) error
	}{
		{"to", e.To, mail.Address.Validate}, {"cc", e.Cc, mail.Address.Validate}, {"bcc", e.Bcc, mail.Address.Validate},
		{"reply_to", e.ReplyTo, mail.Address.ValidateShown},
	} {
		for i, a := range l.list {
			if err := l.valid(a); err != nil {
				return badField(fmt.Sprintf("%s[%d]", l.field, i), "%v", err)
			}
		}
	}
	if e.Envelope == nil {
		return nil
	}
	if f := e.Envelope.MailFrom; f != nil && *f != "" {
		if err := mail.ValidateAddrSpec(*f); err != nil {
			return badField("envelope.mail_from", "%v", err)
		}
	}
	for i, a := range e.Envelope.RcptTo {
		if err := mail.ValidateAddrSpec(a); err != nil {
			return badField(fmt.Sprintf("envelope.rcpt_to[%d]", i), "%v", err)
		}
	}
	return nil
}

func (e *Envelope) checkRecipients() error {
	switch n := e.recipientCount(); {
	case n == 0:
		return badField("to", "no recipient: name one in to, cc, bcc or envelope.rcpt_to")
	case n > MaxRecipients:
		return badField("to", "%d recipients, at most %d are allowed", n, MaxRecipients)
	}
	return nil
}

func (e *Envelope) checkTexts() error {
	if err := validateLine(e.Subject, maxSubject); err != nil {
		return badField("subject", "%v", err)
	}
	if e.Text == nil && e.HTML == nil && e.Raw == nil {
		return badField("text", "missing: a mail must have text or html; it may be empty")
	}
	if err := checkAlternatives(e.Alternatives); err != nil {
		return err
	}
	for field, s := range map[string]*string{"text": e.Text, "html": e.HTML} {
		if s != nil && strings.IndexByte(*s, 0) >= 0 {
			return badField(field, "contains a NUL")
		}
	}
	return nil
}

// checkOptions checks the fields that say how to send.
func (e *Envelope) checkOptions() error {
	if len(e.Tags) > maxTags {
		return badField("tags", "%d tags, at most %d are allowed", len(e.Tags), maxTags)
	}
	for i, t := range e.Tags {
		if err := validateTag(t); err != nil {
			return badField(fmt.Sprintf("tags[%d]", i), "%v", err)
		}
	}
	if len(e.Metadata) > maxMetadata {
		return badField("metadata", "%d entries, at most %d are allowed", len(e.Metadata), maxMetadata)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Metadata)) {
		if err := validateMeta(k, e.Metadata[k]); err != nil {
			return badField("metadata."+mail.Sentence(k, 64), "%v", err)
		}
	}
	for _, t := range []struct {
		field string
		time  time.Time
	}{{"send_at", e.SendAt}, {"expires_at", e.ExpiresAt}} {
		if !t.time.IsZero() {
			if err := validateTime(t.time); err != nil {
				return badField(t.field, "%v", err)
			}
		}
	}
	if err := e.checkExpiry(); err != nil {
		return badField("expires_at", "%v", err)
	}
	if e.Tenant != "" {
		if err := ValidateName(e.Tenant); err != nil {
			return badField("tenant", "%v", err)
		}
	}
	if e.MaxAttempts != 0 {
		if err := validateMaxAttempts(e.MaxAttempts); err != nil {
			return badField("max_attempts", "%v", err)
		}
	}
	return nil
}

func (e *Envelope) checkExpiry() error {
	if !e.ExpiresAt.IsZero() && e.ExpiresAt.Before(e.SendAt) {
		return errors.New("is before the time to send")
	}
	return nil
}

// reservedHeaders are made from the envelope's own fields, or by relays.
var reservedHeaders = []string{"from", "to", "cc", "bcc", "sender", "return-path", "received", "mime-version", "subject", "reply-to"}

func (e *Envelope) checkHeaders() error {
	if len(e.Headers) > maxHeaders {
		return badField("headers", "%d headers, at most %d are allowed", len(e.Headers), maxHeaders)
	}
	seen := make(map[string]bool, len(e.Headers))
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		low, field := strings.ToLower(name), "headers."+mail.Sentence(name, 64)
		switch n := len(e.Headers[name]); {
		case n == 0:
			return badField(field, "an empty list: omit the field")
		case n > maxValues:
			return badField(field, "%d values, at most %d are allowed", n, maxValues)
		case n > 1 && (low == "message-id" || low == "date"):
			return badField(field, "given %d times, a mail has one", n)
		case seen[low]:
			return badField(field, "given twice, in different case")
		}
		for i, v := range e.Headers[name] {
			if err := validateHeader(name, low, v); err != nil {
				if len(e.Headers[name]) > 1 {
					field += fmt.Sprintf("[%d]", i)
				}
				return badField(field, "%v", err)
			}
		}
		seen[low] = true
	}
	return nil
}

func validateHeader(name, low, value string) error {
	switch {
	case !validFieldName(name):
		return errors.New("is not a header field's name (RFC 5322 section 3.6.8)")
	case slices.Contains(reservedHeaders, low), strings.HasPrefix(low, "content-"):
		return errors.New("is reserved for the envelope's own fields and for relays")
	case low == "message-id" && value != "" && !msgID.MatchString(value):
		return fmt.Errorf("%q is not a message id like <left@right> (RFC 5322 section 3.6.4)", mail.Cut(value, 80))
	case low == "date" && value != "" && !validDate(value):
		return fmt.Errorf("%q is not a date like \"Mon, 02 Jan 2006 15:04:05 +0000\" (RFC 5322 section 3.3)", mail.Cut(value, 80))
	}
	return validateLine(value, maxHeaderValue)
}

// msgID is RFC 5322 section 3.6.4, without the obsolete forms, and short enough for
// one line.
var msgID = regexp.MustCompile("^<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,450}@(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,440}|\\[[!-Z^-~]{0,440}\\])>$")

func validDate(s string) bool {
	_, err := netmail.ParseDate(s)
	return err == nil && len(s) <= 76 && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// validFieldName checks RFC 5322 section 3.6.8: printable ASCII without a colon.
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

// validateLine checks that a string for people is one line of at most most
// characters.
func validateLine(s string, most int) error {
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	if mail.HasControl(s) {
		return errors.New("contains a control character or a line break")
	}
	if n := utf8.RuneCountInString(s); n > most {
		return fmt.Errorf("has %d characters, at most %d are allowed", n, most)
	}
	return nil
}

func validateTag(s string) error { return validateLine(s, maxTag) }

func validateMeta(k, v string) error {
	switch {
	case k == "":
		return errors.New("the key must not be empty")
	case strings.IndexByte(v, 0) >= 0:
		return errors.New("contains a NUL")
	case !utf8.ValidString(v):
		return errors.New("is not valid UTF-8")
	case utf8.RuneCountInString(v) > maxMetaValue:
		return fmt.Errorf("has %d characters, at most %d are allowed", utf8.RuneCountInString(v), maxMetaValue)
	}
	return validateLine(k, maxMetaKey)
}

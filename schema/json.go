package schema

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postrider/postrider/mail"
)

// The names of the fields, to correct one in the wrong case.
var (
	envelopeFields = []string{
		"id", "from", "sender", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "alternatives", "headers", "attachments", "raw", "tags",
		"metadata", "tenant", "send_at", "expires_at", "relay", "max_attempts", "envelope",
	}
	// contentFields go into the message and are not allowed with raw.
	contentFields     = []string{"sender", "subject", "text", "html", "alternatives", "attachments", "reply_to", "headers"}
	addressFields     = []string{"name", "email"}
	alternativeFields = []string{"content_type", "content"}
	attachmentFields  = []string{"filename", "content", "content_type", "content_id", "object"}
	pathFields        = []string{"mail_from", "rcpt_to"}
)

// decodeJSON reads the JSON form. A byte order mark before it is ignored (RFC 8259
// section 8.1).
func decodeJSON(body []byte) (*Envelope, error) {
	if odd := notUTF8(body); odd != "" {
		return nil, badField("", "the envelope %s", odd)
	}
	body = bytes.TrimPrefix(body, []byte(mark))
	if len(body) == 0 {
		return nil, badField("", "the body is empty: an envelope is a JSON object")
	}
	if beginsLikeMessage(body) {
		return nil, badHeader(HeaderContentType, "is missing, and the body begins like a message, not like JSON: publish a message with the NATS header %s: %s", HeaderContentType, TypeMessage)
	}
	// The decoder reads a bytes.Buffer in place.
	r := &reader{dec: jsontext.NewDecoder(bytes.NewBuffer(body))}
	e := new(Envelope)
	if err := r.object(func(name string) error { return r.field(e, name) }); err != nil {
		return nil, err
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if e.Raw != nil {
		if r.content != "" {
			return nil, badField(r.content, "must not be given with raw, which is sent as it is; put it into the message")
		}
		if err := e.adopt("raw"); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// beginsLikeMessage reports a header field. No JSON begins with a name and a colon.
func beginsLikeMessage(body []byte) bool {
	name, _, ok := bytes.Cut(body[:min(len(body), 80)], []byte(":"))
	return ok && len(name) > 0 && name[0] >= 'A' && name[0] <= 'z' && name[0] != '[' && Writable(string(name))
}

// field reads the value of one field of the envelope.
func (r *reader) field(e *Envelope, name string) (err error) {
	if r.content == "" && slices.Contains(contentFields, name) {
		r.content = name
	}
	switch name {
	case "id":
		e.ID, err = r.text()
	case "from":
		e.From, err = r.address()
	case "sender":
		e.Sender, err = r.address()
	case "to":
		e.To, err = r.addresses()
	case "cc":
		e.Cc, err = r.addresses()
	case "bcc":
		e.Bcc, err = r.addresses()
	case "reply_to":
		e.ReplyTo, err = r.addresses()
	case "subject":
		e.Subject, err = r.text()
	case "text":
		e.Text, err = r.optional()
	case "html":
		e.HTML, err = r.optional()
	case "envelope":
		e.Envelope, err = r.path()
	default:
		return r.part(e, name)
	}
	return err
}

// part reads a field with what the message is made of, besides its texts.
func (r *reader) part(e *Envelope, name string) (err error) {
	switch name {
	case "alternatives":
		e.Alternatives, err = list(r, MaxAlternatives, r.alternative)
	case "headers":
		e.Headers, err = entries(r, maxHeaders, r.values)
	case "attachments":
		e.Attachments, err = list(r, MaxAttachments, r.attachment)
	case "raw":
		e.Raw, err = r.bytes()
	default:
		return r.option(e, name)
	}
	return err
}

// values reads a string or a list of strings.
func (r *reader) values() (Values, error) {
	if r.dec.PeekKind() == '[' {
		return list(r, maxValues, r.text)
	}
	s, err := r.text()
	return Values{s}, err
}

func (r *reader) alternative() (a Alternative, err error) {
	content := false
	err = r.object(func(name string) (err error) {
		switch name {
		case "content_type":
			a.ContentType, err = r.checked(validateTextType)()
		case "content":
			content = true
			a.Content, err = r.text()
		default:
			err = r.unknown(name, alternativeFields...)
		}
		return err
	})
	if err == nil && !content {
		err = r.fail("content is missing: it must be the text")
	}
	return a, err
}

// option reads a field that says how to send.
func (r *reader) option(e *Envelope, name string) (err error) {
	switch name {
	case "tags":
		e.Tags, err = list(r, maxTags, r.text)
	case "metadata":
		e.Metadata, err = entries(r, maxMetadata, r.text)
	case "tenant":
		e.Tenant, err = r.checked(ValidateName)()
	case "relay":
		e.Relay, err = r.checked(ValidateName)()
	case "send_at", "expires_at":
		s, err := r.text()
		if err != nil {
			return err
		}
		t, err := parseTime(s)
		if err != nil {
			return r.fail("%v", err)
		}
		if name == "send_at" {
			e.SendAt = t
		} else {
			e.ExpiresAt = t
		}
	case "max_attempts":
		if e.MaxAttempts, err = r.integer(); err == nil {
			if err = validateMaxAttempts(e.MaxAttempts); err != nil {
				err = r.fail("%v", err)
			}
		}
	default:
		return r.unknown(name, envelopeFields...)
	}
	return err
}

// address reads "Name <a@b>", "a@b" or {"name": …, "email": …}.
func (r *reader) address() (a mail.Address, err error) {
	if r.dec.PeekKind() != '{' {
		s, err := r.text()
		if err == nil {
			if a, err = mail.ParseAddress(s); err != nil {
				err = r.fail("%v", err)
			}
		}
		return a, r.notEmpty(a, err)
	}
	err = r.object(func(name string) (err error) {
		switch name {
		case "name":
			a.Name, err = r.text()
		case "email":
			a.Email, err = r.text()
		default:
			err = r.unknown(name, addressFields...)
		}
		return err
	})
	return a, r.notEmpty(a, err)
}

func (r *reader) notEmpty(a mail.Address, err error) error {
	if err == nil && a.Email == "" {
		return r.fail("the address is empty")
	}
	return err
}

func (r *reader) addresses() ([]mail.Address, error) { return list(r, MaxRecipients, r.address) }

func (r *reader) attachment() (a Attachment, err error) {
	err = r.object(func(name string) (err error) {
		switch name {
		case "filename":
			a.Filename, err = r.checked(validateFilename)()
		case "content":
			a.Content, err = r.bytes()
		case "content_type":
			a.ContentType, err = r.checked(validateContentType)()
		case "content_id":
			a.ContentID, err = r.checked(validateContentID)()
		case "object":
			err = r.fail("is reserved for attachments by reference, which no worker can fetch yet; put the bytes into content")
		default:
			err = r.unknown(name, attachmentFields...)
		}
		return err
	})
	return a, err
}

func (r *reader) path() (*Path, error) {
	p := new(Path)
	err := r.object(func(name string) (err error) {
		switch name {
		case "mail_from":
			p.MailFrom, err = r.optional()
		case "rcpt_to":
			p.RcptTo, err = list(r, MaxRecipients, r.text)
		default:
			err = r.unknown(name, pathFields...)
		}
		return err
	})
	return p, err
}

func validateMaxAttempts(n int) error {
	if n < 1 || n > 100 {
		return fmt.Errorf("is %d, must be 1 to 100", n)
	}
	return nil
}

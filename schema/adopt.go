package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"github.com/postrider/postrider/mail"
)

// adopt checks the rules of a raw message and fills in what the envelope leaves
// out: the sender and the recipients as "sendmail -t" finds them, and the subject
// for readers of the log. part is the name of the message in errors.
func (e *Envelope) adopt(part string) error {
	if odd := notUTF8(e.Raw); odd != "" {
		return badField(part, "the message %s", odd)
	}
	e.Raw = mail.WithoutFirstLine(e.Raw)
	if len(e.Raw) == 0 {
		return badField(part, "the message is empty")
	}
	h, err := mail.ReadHead(e.Raw)
	if err != nil {
		return badField(part, "%v", err)
	}
	if bytes.IndexByte(e.Raw[h.Size:], 0) >= 0 {
		return badField(part, "the body contains a NUL")
	}
	if n := h.Count("Received"); n > MaxReceived {
		return &EnvelopeError{Field: part, Reason: mail.ReasonLoop, Problem: fmt.Sprintf(
			"the message has %d Received fields, more than %d: it loops", n, MaxReceived)}
	}
	if f := h.Find("Subject"); f != nil {
		e.Subject = readable(f.Value())
	}
	resent := h.Resent()
	if err := e.adoptSender(part, h, resent); err != nil {
		return err
	}
	if e.recipientCount() > 0 {
		return nil
	}
	return e.adoptRecipients(part, h, resent)
}

// adoptSender takes the sender from Sender, else From.
func (e *Envelope) adoptSender(part string, h, resent *mail.Head) error {
	if e.From.Email != "" || e.Envelope != nil && e.Envelope.MailFrom != nil {
		return nil
	}
	names := []string{"Sender", "From"}
	if resent != nil {
		names, h = []string{"Resent-Sender", "Resent-From"}, resent
	}
	for _, name := range names {
		f := h.Find(name)
		if f == nil {
			continue
		}
		list, err := mail.AddrSpecs(f.Value())
		switch {
		case err != nil:
			return badField(part+"."+f.Name, "%v", err)
		case len(list) == 0:
			return badField(part+"."+f.Name, "contains no address")
		case len(list) > 1 && strings.HasSuffix(name, "Sender"): // RFC 5322 section 3.6.2
			return badField(part+"."+f.Name, "contains %d addresses, one is allowed", len(list))
		}
		e.From = mail.Address{Email: list[0]}
		return nil
	}
	return badField(part, "no sender: the message has no %s field, and no other sender is given", names[1])
}

// adoptRecipients takes them from To, Cc and Bcc, each address once.
func (e *Envelope) adoptRecipients(part string, h, resent *mail.Head) error {
	prefix := ""
	if resent != nil {
		prefix, h = "Resent-", resent
	}
	seen := make(map[string]bool)
	for _, into := range []struct {
		name string
		list *[]mail.Address
	}{{prefix + "To", &e.To}, {prefix + "Cc", &e.Cc}, {prefix + "Bcc", &e.Bcc}} {
		for i := range h.Fields {
			f := &h.Fields[i]
			if !f.Is(into.name) {
				continue
			}
			list, err := mail.AddrSpecs(f.Value())
			if err != nil {
				return badField(part+"."+f.Name, "%v", err)
			}
			for _, a := range list {
				if !seen[a] {
					*into.list = append(*into.list, mail.Address{Email: a})
				}
				seen[a] = true
			}
		}
	}
	switch n := len(seen); {
	case n == 0:
		return badField(part, "no recipient: neither To, Cc nor Bcc has an address, and no other recipient is given")
	case n > MaxRecipients:
		return badField(part, "%d recipients, at most %d are allowed", n, MaxRecipients)
	}
	return nil
}

// readable is a field's value for people: unfolded, and decoded if possible.
func readable(value []byte) string {
	s := strings.TrimSpace(string(bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, value)))
	d := mime.WordDecoder{CharsetReader: func(string, io.Reader) (io.Reader, error) {
		return nil, errors.New("unknown charset")
	}}
	if decoded, err := d.DecodeHeader(s); err == nil {
		s = decoded
	}
	return mail.Sentence(s, maxSubject-2)
}

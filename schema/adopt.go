package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
)

// adopt holds a raw mail to its rules and fills in from it what the envelope
// leaves out: sender and recipients as "sendmail -t" finds them, and the
// subject for those who look at the log. part is what errors call the mail.
func (e *Envelope) adopt(part string) error {
	if len(e.Raw) == 0 {
		return badField(part, "the mail is empty")
	}
	h, err := ReadHead(e.Raw)
	if err != nil {
		return badField(part, "%v", err)
	}
	if bytes.IndexByte(e.Raw[h.Size:], 0) >= 0 {
		return badField(part, "a NUL stands in the body")
	}
	if n := h.count("Received"); n > MaxReceived {
		return &EnvelopeError{Field: part, Reason: ReasonLoop, Problem: fmt.Sprintf(
			"the mail has %d Received fields, more than %d: it goes in a circle", n, MaxReceived)}
	}
	if f := h.find("Subject"); f != nil {
		e.Subject = readable(f.Value())
	}
	resent := h.resent()
	if err := e.adoptSender(part, h, resent); err != nil {
		return err
	}
	if e.recipientCount() > 0 {
		return nil
	}
	return e.adoptRecipients(part, h, resent)
}

func (h *Head) find(name string) *HeadField {
	for i := range h.Fields {
		if h.Fields[i].Is(name) {
			return &h.Fields[i]
		}
	}
	return nil
}

func (h *Head) count(name string) (n int) {
	for i := range h.Fields {
		if h.Fields[i].Is(name) {
			n++
		}
	}
	return n
}

// resent are the fields of the last resending, which stand together at the top
// (RFC 5322 section 3.6.6): of a mail that was resent, they say who and to whom
// now. None where it was not.
func (h *Head) resent() *Head {
	block, seen := new(Head), make(map[string]bool)
	for i := range h.Fields {
		f := &h.Fields[i]
		if !HasPrefixFold(f.Name, "Resent-") {
			if len(block.Fields) > 0 {
				break
			}
			continue
		}
		low := strings.ToLower(f.Name)
		if seen[low] {
			break
		}
		seen[low] = true
		block.Fields = append(block.Fields, *f)
	}
	if block.find("Resent-To") == nil && block.find("Resent-Cc") == nil && block.find("Resent-Bcc") == nil {
		return nil
	}
	return block
}

// adoptSender takes the sender from Sender, else From.
func (e *Envelope) adoptSender(part string, h, resent *Head) error {
	if e.From.Email != "" || e.Envelope != nil && e.Envelope.MailFrom != nil {
		return nil
	}
	names := []string{"Sender", "From"}
	if resent != nil {
		names, h = []string{"Resent-Sender", "Resent-From"}, resent
	}
	for _, name := range names {
		f := h.find(name)
		if f == nil {
			continue
		}
		list, err := mailboxes(f.Value())
		switch {
		case err != nil:
			return badField(part+"."+f.Name, "%v", err)
		case len(list) == 0:
			return badField(part+"."+f.Name, "no address stands in it")
		case len(list) > 1 && strings.HasSuffix(name, "Sender"): // RFC 5322 section 3.6.2
			return badField(part+"."+f.Name, "%d addresses stand in it, one is allowed", len(list))
		}
		e.From = Address{Email: list[0]}
		return nil
	}
	return badField(part, "no sender: the mail has no %s field, and no other sender is given", names[1])
}

// adoptRecipients takes them from To, Cc and Bcc, each address once.
func (e *Envelope) adoptRecipients(part string, h, resent *Head) error {
	prefix := ""
	if resent != nil {
		prefix, h = "Resent-", resent
	}
	seen := make(map[string]bool)
	for _, into := range []struct {
		name string
		list *[]Address
	}{{prefix + "To", &e.To}, {prefix + "Cc", &e.Cc}, {prefix + "Bcc", &e.Bcc}} {
		for i := range h.Fields {
			f := &h.Fields[i]
			if !f.Is(into.name) {
				continue
			}
			list, err := mailboxes(f.Value())
			if err != nil {
				return badField(part+"."+f.Name, "%v", err)
			}
			for _, a := range list {
				if !seen[a] {
					*into.list = append(*into.list, Address{Email: a})
				}
				seen[a] = true
			}
		}
	}
	switch n := len(seen); {
	case n == 0:
		return badField(part, "no recipient: neither To, Cc nor Bcc holds an address, and no other recipient is given")
	case n > MaxRecipients:
		return badField(part, "%d recipients, at most %d are allowed", n, MaxRecipients)
	}
	return nil
}

// readable is a field's value for people: unfolded and decoded, where that can
// be done.
func readable(value []byte) string {
	s := strings.TrimSpace(string(bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, value)))
	d := mime.WordDecoder{CharsetReader: func(string, io.Reader) (io.Reader, error) {
		return nil, errors.New("not known")
	}}
	if decoded, err := d.DecodeHeader(s); err == nil {
		s = decoded
	}
	return Sentence(s, maxSubject-2)
}

// mailboxes are the addr-specs of an address list (RFC 5322 section 3.4), of
// its groups too, without names and comments. It reads what mailers write,
// names in any charset among it, and takes nothing that it has to guess at.
func mailboxes(list []byte) ([]string, error) {
	r := mailboxReader{in: list}
	for r.pos < len(r.in) {
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	err := r.end()
	return r.found, err
}

type mailboxReader struct {
	in  []byte
	pos int
	// words are what stands outside of angle brackets since the last comma.
	words []byte
	gap   bool
	// angle is what stood in them.
	angle   []byte
	angled  bool
	inAngle bool
	found   []string
}

func (r *mailboxReader) step() error {
	c := r.in[r.pos]
	r.pos++
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		r.gap = true
		return nil
	case c == '(':
		r.gap = true
		return r.comment()
	case c == '"':
		return r.until('"', "a quoted string")
	case c == '[':
		return r.until(']', "an address literal")
	case c == '<' && !r.inAngle:
		if r.angled {
			return errors.New("two addresses stand side by side without a comma")
		}
		r.inAngle, r.angled, r.gap = true, true, false
		return nil
	case c == '>' && r.inAngle:
		r.inAngle = false
		return nil
	case r.inAngle && c == ':' && len(r.angle) > 0 && r.angle[0] == '@':
		r.angle = r.angle[:0] // a route, long out of use (RFC 5321 appendix C)
		return nil
	case r.inAngle && c == ',' && len(r.angle) > 0 && r.angle[0] == '@':
		return nil
	case c == ',' || c == ';':
		return r.end()
	case c == ':' && !r.inAngle && !r.angled:
		r.words, r.gap = nil, false // the name of a group
		return nil
	}
	r.put(c)
	return nil
}

// put adds to the words or to the address. A gap counts, but beside a dot or
// an @, where folding was once allowed.
func (r *mailboxReader) put(c ...byte) {
	to := &r.words
	if r.inAngle {
		to = &r.angle
	}
	glue := func(b byte) bool { return b == '.' || b == '@' }
	if n := len(*to); r.gap && n > 0 && !glue((*to)[n-1]) && !glue(c[0]) {
		*to = append(*to, ' ')
	}
	r.gap = false
	*to = append(*to, c...)
}

// until takes everything up to c, quoted pairs as pairs.
func (r *mailboxReader) until(c byte, what string) error {
	start := r.pos - 1
	for ; r.pos < len(r.in); r.pos++ {
		switch r.in[r.pos] {
		case '\\':
			r.pos++
		case c:
			r.pos++
			r.put(slices.DeleteFunc(bytes.Clone(r.in[start:r.pos]), func(b byte) bool { return b == '\r' || b == '\n' })...)
			return nil
		}
	}
	return fmt.Errorf("%s has no end", what)
}

// comment passes over a comment; they nest.
func (r *mailboxReader) comment() error {
	for depth := 1; r.pos < len(r.in); r.pos++ {
		switch r.in[r.pos] {
		case '\\':
			r.pos++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				r.pos++
				return nil
			}
		}
	}
	return errors.New("a comment has no end")
}

// end takes the address that a comma or the end of the list ends.
func (r *mailboxReader) end() error {
	address := string(r.words)
	switch {
	case r.inAngle:
		return errors.New("a < has no >")
	case r.angled:
		address = string(r.angle)
	}
	given := r.angled || address != ""
	r.words, r.angle, r.angled, r.gap = r.words[:0], r.angle[:0], false, false
	if !given {
		return nil // nothing between two commas, or an empty group
	}
	if err := ValidateAddrSpec(address); err != nil {
		return err
	}
	r.found = append(r.found, address)
	return nil
}

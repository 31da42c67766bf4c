package mail

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Head is the header of a raw message: its fields, byte for byte.
type Head struct {
	Fields []HeadField
	// Size is the number of bytes before the empty line, or of the message if there
	// is none.
	Size int
}

// HeadField is one field of a header.
type HeadField struct {
	// Name is the name as written.
	Name string
	// Bytes is the field with its name and its line ends.
	Bytes []byte
	value int // where the value begins in Bytes
}

// Value is what follows the colon, with its line breaks.
func (f *HeadField) Value() []byte { return f.Bytes[f.value:] }

// Is reports whether the field has that name.
func (f *HeadField) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// ReadHead reads the header of a message (RFC 5322 section 2.2). Lines may end in
// CRLF or LF. What a relay might read differently is an error: a line that belongs
// to no field, a bare CR, a NUL.
func ReadHead(mail []byte) (*Head, error) {
	h := new(Head)
	for n := 1; h.Size < len(mail); n++ {
		line, text, end := h.next(mail)
		if end {
			break
		}
		if err := h.add(line, text); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		h.Size += len(line)
	}
	if len(h.Fields) == 0 {
		return nil, errors.New("it does not begin with a header field")
	}
	return h, nil
}

// ReadLooseHead reads what is a field in the first lines of a message that [ReadHead]
// refuses. It is for people who look for the message, not for sending it.
func ReadLooseHead(mail []byte, lines int) *Head {
	h, left := new(Head), false
	for n := 0; n < lines && h.Size < len(mail); n++ {
		line, text, end := h.next(mail)
		if end {
			break
		}
		// A line that is no field is left out, and with it what continues it.
		if folded := bytes.HasPrefix(text, []byte(" ")) || bytes.HasPrefix(text, []byte("\t")); !left || !folded {
			left = h.add(line, text) != nil
		}
		h.Size += len(line)
	}
	return h
}

// next is the line at h.Size, with its end and without; end is set if it is the empty
// line after the header.
func (h *Head) next(mail []byte) (line, text []byte, end bool) {
	line = mail[h.Size:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i+1]
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	return line, text, len(text) == 0 && line[len(line)-1] == '\n'
}

// add takes one line of the header; text is the line without its end.
func (h *Head) add(line, text []byte) error {
	switch {
	case bytes.IndexByte(text, '\r') >= 0 || line[len(line)-1] == '\r':
		return errors.New("contains a CR without an LF")
	case bytes.IndexByte(text, 0) >= 0:
		return errors.New("contains a NUL")
	case text[0] == ' ' || text[0] == '\t':
		if len(h.Fields) == 0 {
			return errors.New("the message begins with a space")
		}
		last := &h.Fields[len(h.Fields)-1]
		last.Bytes = last.Bytes[:len(last.Bytes)+len(line)] // in memory the line follows it
		return nil
	}
	colon := bytes.IndexByte(text, ':')
	// A space before the colon is obsolete, but must be read (RFC 5322 section 4.5).
	name := string(bytes.TrimRight(text[:max(colon, 0)], " \t"))
	if !validHeadName(name) {
		return fmt.Errorf("%q is not a header field; an empty line must end the header", Sentence(string(text), 60))
	}
	h.Fields = append(h.Fields, HeadField{Name: name, Bytes: line, value: colon + 1})
	return nil
}

// validHeadName checks RFC 5322 section 3.6.8: printable ASCII without a colon, of
// any length.
func validHeadName(s string) bool {
	return s != "" && !slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c >= 0x7f || c == ':' })
}

// Find is the first field of that name; nil if there is none.
func (h *Head) Find(name string) *HeadField {
	for i := range h.Fields {
		if h.Fields[i].Is(name) {
			return &h.Fields[i]
		}
	}
	return nil
}

// Count is the number of fields of that name.
func (h *Head) Count(name string) (n int) {
	for i := range h.Fields {
		if h.Fields[i].Is(name) {
			n++
		}
	}
	return n
}

// Resent is the topmost block of Resent fields (RFC 5322 section 3.6.6). It has the
// sender and the recipients of the last resending. It is nil if the message was
// not resent or the block has no recipient.
func (h *Head) Resent() *Head {
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
	if block.Find("Resent-To") == nil && block.Find("Resent-Cc") == nil && block.Find("Resent-Bcc") == nil {
		return nil
	}
	return block
}

package mail

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// AddrSpecs are the addr-specs of an address list (RFC 5322 section 3.4) and of its
// groups, without names and comments. It reads what mail programs write, also
// names in any charset. It never guesses: what is ambiguous is an error.
func AddrSpecs(list []byte) ([]string, error) {
	r := mailboxReader{in: list}
	for r.pos < len(r.in) {
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	err := r.end()
	return r.found, err
}

// LooseAddrSpecs are the first addresses of a list, also those that [AddrSpecs]
// refuses, as text of one line. It is for people who look for them, not for sending.
func LooseAddrSpecs(list []byte, most int) []string {
	r := mailboxReader{in: list, loose: true}
	for r.pos < len(r.in) && len(r.found) < most {
		if r.step() != nil {
			r.inAngle = r.endLoose() && r.in[r.pos-1] == '<'
			r.angled = r.inAngle
		}
	}
	r.endLoose()
	return r.found[:min(most, len(r.found))]
}

type mailboxReader struct {
	in  []byte
	pos int
	// words is the text outside of angle brackets since the last comma.
	words []byte
	gap   bool // white space or a comment came before
	// angle is the text within angle brackets since the last comma.
	angle   []byte
	angled  bool // there were brackets
	inAngle bool // they are still open
	found   []string
	loose   bool // nothing is checked
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
			return errors.New("two addresses without a comma between them")
		}
		r.inAngle, r.angled, r.gap = true, true, false
		return nil
	case c == '>' && r.inAngle:
		r.inAngle = false
		return nil
	case r.inAngle && c == ':' && len(r.angle) > 0 && r.angle[0] == '@':
		r.angle = r.angle[:0] // an obsolete source route (RFC 5321 appendix C)
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

// put adds to words or angle. A gap becomes a space, except next to a dot or an @,
// where white space was once allowed.
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

// until takes everything up to c. A quoted pair never ends it.
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
	return fmt.Errorf("%s is not closed", what)
}

// comment skips a comment. Comments nest.
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
	return errors.New("a comment is not closed")
}

// end takes the address before a comma or before the end of the list.
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
	if r.loose {
		if address = Sentence(address, maxAddress); address != "" {
			r.found = append(r.found, address)
		}
		return nil
	}
	if err := ValidateAddrSpec(address); err != nil {
		return err
	}
	r.found = append(r.found, address)
	return nil
}

// endLoose is end, whatever is open.
func (r *mailboxReader) endLoose() bool {
	r.inAngle = false
	return r.end() == nil
}

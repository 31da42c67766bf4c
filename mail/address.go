package mail

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxAddress is the limit of a path without its brackets (RFC 5321 section
	// 4.5.3.1.3), in octets. The limit of 64 for the local part is not kept: reply
	// tokens and VERP are longer, and relays take them.
	maxAddress = 254
	// maxShown is the limit of an address that is only in a header field, in octets:
	// it fits on a line of 998 (RFC 5322 section 2.1.1).
	maxShown = 900
	maxName  = 255 // characters
)

// Address is a mailbox: an addr-spec and, for people, a name. In JSON it is
// "Name <a@b>", "a@b" or {"name": …, "email": …}.
type Address struct {
	Name  string `json:"name,omitempty"`
	Email string `json:"email"`
}

// ParseAddress reads "Name <a@b>" or "a@b". The name may be a quoted string.
// It does not check the address: [Address.Validate] does.
func ParseAddress(s string) (Address, error) {
	if !strings.HasSuffix(s, ">") {
		return Address{Email: s}, nil
	}
	if HasControl(s) {
		return Address{}, fmt.Errorf("address %q contains a control character or a line break", shown(s))
	}
	// The last "<" outside of quotes begins the address. A name or a local part can
	// have another one, but only within quotes.
	open := lastUnquoted(s, '<')
	if open < 0 {
		return Address{}, fmt.Errorf("address %q has a \">\" and no \"<\"", shown(s))
	}
	name := strings.TrimSpace(s[:open])
	if unq, ok := unquote(name); ok {
		name = unq
	}
	return Address{Name: name, Email: s[open+1 : len(s)-1]}, nil
}

// Validate reports why the address cannot be sent to.
func (a Address) Validate() error { return a.validate(maxAddress) }

// ValidateShown reports why the address cannot be in a header field. It may be longer
// than one in MAIL or RCPT.
func (a Address) ValidateShown() error { return a.validate(maxShown) }

func (a Address) validate(most int) error {
	if HasControl(a.Name) {
		return errors.New("the name contains a control character or a line break")
	}
	if n := utf8.RuneCountInString(a.Name); n > maxName {
		return fmt.Errorf("the name has %d characters, at most %d are allowed", n, maxName)
	}
	return validateAddrSpec(a.Email, most)
}

// ValidateAddrSpec reports why s is not an addr-spec for MAIL and RCPT (RFC 5321
// section 4.1.2, with UTF-8 as in RFC 6531 section 3.3). It is as liberal as relays
// are where nothing can break out of the brackets: what [Canonical] can write passes.
func ValidateAddrSpec(s string) error { return validateAddrSpec(s, maxAddress) }

func validateAddrSpec(s string, most int) error {
	at := lastUnquoted(s, '@')
	switch {
	case s == "":
		return errors.New("the address is empty")
	case !utf8.ValidString(s):
		return errors.New("the address is not valid UTF-8")
	case HasControl(s):
		return fmt.Errorf("address %q contains a control character or a line break", shown(s))
	case at < 0:
		return fmt.Errorf("address %q has no @", shown(s))
	case len(s) > most:
		return fmt.Errorf("address %q has %d octets, at most %d are allowed", shown(s), len(s), most)
	case !validLocal(s[:at]):
		return fmt.Errorf("address %q: the part before the @ is neither a dot-atom nor a quoted string", s)
	case !validDomain(withoutRoot(s[at+1:])):
		return fmt.Errorf("address %q: the part after the @ is neither a domain nor an address literal", s)
	}
	return checkASCIIForm(s, most)
}

// shown is the part of an address that an error quotes.
func shown(s string) string {
	if len(s) > maxAddress {
		return Cut(s, 80) + "…"
	}
	return s
}

// checkASCIIForm checks the length that the address has as it is written, where an
// internationalised domain is in ASCII and is longer.
func checkASCIIForm(s string, most int) error {
	s = Canonical(s)
	at := strings.LastIndexByte(s, '@')
	domain, err := ASCIIDomain(s[at+1:])
	if err != nil {
		return fmt.Errorf("address %q: the domain cannot be written in ASCII: %w", s, err)
	}
	if n := at + 1 + len(domain); n > most {
		return fmt.Errorf("address %q has %d octets as it is written in SMTP, at most %d are allowed", shown(s), n, most)
	}
	return nil
}

func validLocal(s string) bool {
	if strings.HasPrefix(s, `"`) {
		_, ok := unquote(s)
		return ok
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r != '.' && !isAtext(r) })
}

// isAtext reports the characters of an atom (RFC 5322 section 3.2.3; above 127: RFC 6532).
func isAtext(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r > unicode.MaxASCII:
		return unicode.IsGraphic(r) && !unicode.IsSpace(r)
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(r)) >= 0
}

// lastUnquoted is the index of the last c outside of quoted strings, or -1.
func lastUnquoted(s string, c byte) int {
	last, quoted := -1, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == c:
			last = i
		}
	}
	return last
}

// unquote reads a quoted string that is all of s (RFC 5321 section 4.1.2, Quoted-string).
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	var b strings.Builder
	in := s[1 : len(s)-1]
	for i := 0; i < len(in); i++ {
		switch in[i] {
		case '"':
			return "", false
		case '\\':
			if i++; i == len(in) {
				return "", false
			}
		}
		b.WriteByte(in[i])
	}
	return b.String(), true
}

package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 section 4.5.3.1, in octets.
const (
	maxLocalPart = 64
	maxAddress   = 254
	maxName      = 255 // characters
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
func (a Address) Validate() error {
	if HasControl(a.Name) {
		return errors.New("the name contains a control character or a line break")
	}
	if n := utf8.RuneCountInString(a.Name); n > maxName {
		return fmt.Errorf("the name has %d characters, at most %d are allowed", n, maxName)
	}
	return ValidateAddrSpec(a.Email)
}

// ValidateAddrSpec reports why s is not an addr-spec for MAIL and RCPT (RFC 5321
// section 4.1.2, with UTF-8 as in RFC 6531 section 3.3).
func ValidateAddrSpec(s string) error {
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
	case len(s) > maxAddress:
		return fmt.Errorf("address %q has %d octets, at most %d are allowed", shown(s), len(s), maxAddress)
	case at > maxLocalPart:
		return fmt.Errorf("address %q: the part before the @ has %d octets, at most %d are allowed", s, at, maxLocalPart)
	case !validLocal(s[:at]):
		return fmt.Errorf("address %q: the part before the @ is neither a dot-atom nor a quoted string", s)
	case !validDomain(s[at+1:]):
		return fmt.Errorf("address %q: the part after the @ is neither a domain nor an address literal", s)
	}
	return checkASCIIForm(s, at)
}

// shown is the part of an address that an error quotes.
func shown(s string) string {
	if len(s) > maxAddress {
		return Cut(s, 80) + "…"
	}
	return s
}

// checkASCIIForm checks the length that the address has in SMTP, where an
// internationalised domain is sent in ASCII and is longer.
func checkASCIIForm(s string, at int) error {
	domain, err := ASCIIDomain(s[at+1:])
	if err != nil {
		return fmt.Errorf("address %q: the domain cannot be written in ASCII: %w", s, err)
	}
	if n := at + 1 + len(domain); n > maxAddress {
		return fmt.Errorf("address %q has %d octets with its domain in ASCII, at most %d are allowed", s, n, maxAddress)
	}
	return nil
}

// toASCII converts an internationalised domain (UTS 46, nontransitional).
var toASCII = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.VerifyDNSLength(true))

// ASCIIDomain is a domain as it is sent in SMTP and in header fields (RFC 5891
// section 4.4). A domain in ASCII and an address literal are returned unchanged.
func ASCIIDomain(d string) (string, error) {
	if strings.IndexFunc(d, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return d, nil
	}
	return toASCII.ToASCII(d)
}

func validLocal(s string) bool {
	if strings.HasPrefix(s, `"`) {
		_, ok := unquote(s)
		return ok
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtext(r) }) {
			return false
		}
	}
	return true
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

func validDomain(s string) bool {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		lit := s[1 : len(s)-1]
		lit = strings.TrimPrefix(lit, "IPv6:")
		ip, err := netip.ParseAddr(lit)
		return err == nil && ip.Zone() == "" && ip.Is6() == strings.HasPrefix(s, "[IPv6:")
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			ldh := r == '-' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
			if !ldh && (r <= unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r)) {
				return false
			}
		}
	}
	return true
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

// Normalize returns the same string for all spellings of a mailbox. The case of a
// domain has no meaning, that of a local part may (RFC 5321 section 2.4).
func Normalize(address string) string {
	at := strings.LastIndexByte(address, '@') + 1
	return address[:at] + strings.ToLower(address[at:])
}

// SameAddress reports whether addr is what an operator asks for: the address, in
// any case, or "@domain" for all addresses of a domain.
func SameAddress(addr, wanted string) bool {
	return strings.EqualFold(addr, wanted) ||
		strings.HasPrefix(wanted, "@") && strings.HasSuffix(strings.ToLower(addr), strings.ToLower(wanted))
}

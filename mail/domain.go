package mail

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// toASCII converts an internationalised domain (UTS 46, nontransitional). It keeps an
// underscore, and with it other characters, so its result must be checked.
var toASCII = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.BidiRule(), idna.Transitional(false), idna.VerifyDNSLength(true))

// ASCIIDomain is a domain as it is sent in SMTP and in header fields (RFC 5891
// section 4.4), without a dot at its end. A domain in ASCII and an address literal
// are not changed otherwise.
func ASCIIDomain(d string) (string, error) {
	d = withoutRoot(d)
	if strings.IndexFunc(d, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return d, nil
	}
	a, err := toASCII.ToASCII(d)
	if err == nil && !validDomain(a) {
		err = errors.New("it has a character that stands for another one")
	}
	return a, err
}

// withoutRoot cuts off the dot that ends an absolute domain. SMTP has no place for it.
func withoutRoot(d string) string {
	if strings.HasPrefix(d, "[") {
		return d
	}
	return strings.TrimSuffix(d, ".")
}

// IsHostName reports a domain without an underscore or a dot at its end, or an
// address literal: what EHLO may say (RFC 5321 section 4.1.4). Relays are strict
// there.
func IsHostName(s string) bool {
	return len(s) < maxAddress && utf8.ValidString(s) && !strings.Contains(s, "_") && validDomain(s)
}

// validDomain also takes an underscore, which the names of hosts have in use.
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
			ldh := r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
			if !ldh && (r <= unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r)) {
				return false
			}
		}
	}
	return true
}

package mail

import "strings"

// Canonical is an addr-spec as it is written in SMTP and in header fields: a local
// part that begins or ends with a dot or has two side by side is quoted, as RFC 5321
// section 4.1.2 asks for, and a dot at the end of the domain is cut off. Everything
// else stays as it is.
func Canonical(addrSpec string) string {
	at := strings.LastIndexByte(addrSpec, '@')
	if at < 0 {
		return addrSpec
	}
	local, domain := addrSpec[:at], withoutRoot(addrSpec[at+1:])
	if !strings.HasPrefix(local, `"`) && strings.Contains("."+local+".", "..") {
		local = `"` + local + `"`
	}
	return local + "@" + domain
}

// Normalize returns the same string for all spellings of a mailbox. The case of a
// domain has no meaning, that of a local part may (RFC 5321 section 2.4).
func Normalize(address string) string {
	address = Canonical(address)
	at := strings.LastIndexByte(address, '@') + 1
	return address[:at] + strings.ToLower(address[at:])
}

// SameAddress reports whether addr is what an operator asks for: the address, in
// any case, or "@domain" for all addresses of a domain.
func SameAddress(addr, wanted string) bool {
	if strings.HasPrefix(wanted, "@") {
		return strings.HasSuffix(strings.ToLower(Canonical(addr)), strings.ToLower("@"+withoutRoot(wanted[1:])))
	}
	return strings.EqualFold(Canonical(addr), Canonical(wanted))
}

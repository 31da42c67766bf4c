package compose

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/mail"
)

// Path is an address as it is in MAIL and RCPT: with its domain in ASCII (RFC 5891
// section 4.4). utf8 reports a local part beyond ASCII, which only a relay with
// SMTPUTF8 accepts (RFC 6531 section 3.3). The null path stays empty.
func Path(address string) (path string, utf8 bool, err error) {
	at := strings.LastIndexByte(address, '@')
	if isASCII(address) || at < 0 {
		return address, false, nil
	}
	local, domain := address[:at], address[at+1:]
	if domain, err = mail.ASCIIDomain(domain); err != nil {
		return "", false, fmt.Errorf("the domain of %q cannot be written in ASCII: %w", address, err)
	}
	return local + "@" + domain, !isASCII(local), nil
}

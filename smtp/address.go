package smtp

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
)

// checkPath reports why addr cannot be put into MAIL or RCPT. An address that
// closed its own bracket would go on as a parameter of the command, so only an
// exact addr-spec passes (RFC 5321 section 4.1.2; with utf8Too, RFC 6531 section
// 3.3).
func checkPath(addr string, utf8Too bool) error {
	if err := mail.ValidateAddrSpec(addr); err != nil {
		return err
	}
	if !utf8Too && strings.ContainsFunc(addr, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return errors.New("the address has characters above 127, and the message is not marked as UTF-8")
	}
	return nil
}

// appendPath writes an addr-spec that has passed [checkPath], in its canonical form, or
// the null path.
func appendPath(b []byte, addr string) []byte {
	return append(append(append(b, '<'), mail.Canonical(addr)...), '>')
}

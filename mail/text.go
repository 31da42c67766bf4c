package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Cut shortens s to at most n bytes, between two characters.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// Sentence makes s fit for one line of a header or a log: no controls, valid
// UTF-8, at most n bytes.
func Sentence(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if HasControl(string(r)) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(Cut(s, n))
}

// HasControl reports characters that could end a line or a header: C0 and C1
// controls, among them CR, LF, NUL and U+0085, and the Unicode line breaks.
func HasControl(s string) bool {
	ascii := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	return !ascii && strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}

// HasPrefixFold reports whether a header's name begins with prefix, in any case.
// NATS keeps the case of header names.
func HasPrefixFold(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// IsAlnum reports an ASCII letter or digit.
func IsAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// MaxError is the size that the error of a dead letter or record may have, in bytes.
const MaxError = 1024

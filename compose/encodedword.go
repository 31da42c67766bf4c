package compose

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const (
	wordBegin = "=?utf-8?" // then "q?" or "b?"
	wordEnd   = "?="
	wordFrame = len(wordBegin) + len("q?") + len(wordEnd)
	// longestEncoded is the length an encoded word may have (RFC 2047 section 2).
	longestEncoded = 75
	// leastRoom is what must be left of a line to begin an encoded word there;
	// any one character fits into it.
	leastRoom = wordFrame + 3*utf8.UTFMax
)

// encoded writes s as encoded words (RFC 2047), each as long as its line
// allows. Readers drop the spaces between them, so that s comes out whole.
func (h *header) encoded(s string) { h.encodedWithin("", s, "") }

// encodedWithin writes before, s as encoded words, and after, without a space
// between them.
func (h *header) encodedWithin(before, s, after string) {
	kind, encode := "q?", encodeQ
	if len(encodeQ(s)) > base64.StdEncoding.EncodedLen(len(s)) {
		kind, encode = "b?", encodeB
	}
	frame := len(before) + len(after)
	for s != "" {
		if lineLength-h.line-1-frame < leastRoom {
			h.fold()
		}
		n := fitting(s, min(longestEncoded, lineLength-h.line-1-frame)-wordFrame, encode)
		word := wordBegin + kind + encode(s[:n]) + wordEnd
		if s = s[n:]; s == "" {
			word += after
		}
		h.put(before + word)
		before = ""
	}
}

// fitting is the number of bytes of s, whole characters (RFC 2047 section 5),
// that take at most room when encoded.
func fitting(s string, room int, encode func(string) string) int {
	n := 0
	for n < len(s) && n < room {
		_, size := utf8.DecodeRuneInString(s[n:])
		if len(encode(s[:n+size])) > room {
			break
		}
		n += size
	}
	return n
}

func encodeB(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// encodeQ leaves only what may stand in a name too (RFC 2047 section 5 (3)).
func encodeQ(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('_')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!*+-/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

package compose

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
)

const (
	wordBegin = "=?utf-8?" // then "q?" or "b?"
	wordEnd   = "?="
	wordFrame = len(wordBegin) + len("q?") + len(wordEnd)
	// longestEncoded is the length an encoded word may have (RFC 2047 section 2).
	longestEncoded = 75
	// leastRoom is the rest of a line in which an encoded word may begin. It has
	// room for any one character.
	leastRoom = wordFrame + 3*utf8.UTFMax
)

// encoded writes s as encoded words (RFC 2047), each as long as its line allows.
// Readers drop the spaces between them.
func (h *header) encoded(s string) { h.encodedWithin("", s, "") }

// encodedWithin writes before, s as encoded words, and after, with no space
// between.
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

// fitting is how many bytes of s, in complete characters (RFC 2047 section 5), need
// at most room when encoded.
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

// encodeQ leaves only characters that are allowed in a phrase too (RFC 2047 section
// 5 (3)).
func encodeQ(s string) string {
	return strings.ReplaceAll(escape(s, '=', " !*+-/"), " ", "_")
}

// escape writes every byte of s as mark and two hexadecimal digits, except letters,
// digits and those in plain.
func escape(s string, mark byte, plain string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; mail.IsAlnum(c) || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{mark, hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

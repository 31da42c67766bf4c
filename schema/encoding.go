package schema

import "bytes"

// mark is the byte order mark, which programs on Windows write before UTF-8 too.
const mark = "\ufeff"

// notUTF8 says what the text is instead of UTF-8 with one byte order mark at most; empty
// if it may be that. Both forms begin with two characters of ASCII, so that NULs among the
// first four bytes tell (RFC 4627 section 3).
func notUTF8(b []byte) string {
	var first [4]byte
	n := copy(first[:], b)
	switch {
	case bytes.HasPrefix(b, []byte(mark+mark)):
		return "begins with two byte order marks, must have one at most"
	case n < 2:
	case n == 4 && (first[0] == 0 && first[1] == 0 || first[2] == 0 && first[3] == 0):
		return "is UTF-32, must be UTF-8"
	case first[0] == 0xff && first[1] == 0xfe, first[0] == 0xfe && first[1] == 0xff, first[0] == 0 && isASCII(first[1]), first[1] == 0 && isASCII(first[0]):
		return "is UTF-16, must be UTF-8"
	}
	return ""
}

func isASCII(c byte) bool { return c > 0 && c < 0x80 }

package compose

import (
	"bytes"
	"encoding/base64"
	"mime/quotedprintable"
	"strings"
)

const (
	// shortLine is the line that goes as it is (RFC 5322 section 2.1.1).
	shortLine = 78
	// base64Line is the length of an encoded line (RFC 2045 section 6.8).
	base64Line = 76
)

// encodeText gives the text as a 7-bit body and the name of its
// Content-Transfer-Encoding (RFC 2045 section 6): as it is where it is ASCII
// with short lines, quoted-printable where most of it is, else base64.
func encodeText(text string) (encoding string, body []byte) {
	text = crlf(text)
	if is7Bit(text) {
		return "7bit", []byte(text)
	}
	if escaped := strings.Count(text, "=") + countBeyondASCII(text); 6*escaped > len(text) {
		return "base64", base64Lines(text)
	}
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	// Neither fails: a Buffer takes everything.
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return "quoted-printable", b.Bytes()
}

// crlf makes every line end, a bare CR or LF too, CRLF (RFC 5322 section 2.3),
// and ends the last line.
func crlf(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// is7Bit reports a text that no relay has a reason to touch: printable ASCII
// and tabs, in short lines.
func is7Bit(s string) bool {
	for line := range strings.SplitSeq(s, "\r\n") {
		if len(line) > shortLine || !isPrintable(strings.ReplaceAll(line, "\t", " ")) {
			return false
		}
	}
	return true
}

func countBeyondASCII(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] >= 0x80 {
			n++
		}
	}
	return n
}

func base64Lines(s string) []byte {
	enc := base64.StdEncoding.EncodeToString([]byte(s))
	var b bytes.Buffer
	for len(enc) > 0 {
		n := min(base64Line, len(enc))
		b.WriteString(enc[:n] + "\r\n")
		enc = enc[n:]
	}
	return b.Bytes()
}

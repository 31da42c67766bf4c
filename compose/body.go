package compose

import (
	"bytes"
	"encoding/base64"
	"mime/quotedprintable"
	"strings"
)

const (
	// shortLine is the longest line that is sent as it is (RFC 5322 section 2.1.1).
	shortLine = 78
	// base64Line is the length of an encoded line (RFC 2045 section 6.8).
	base64Line = 76
)

// encodingOf is the Content-Transfer-Encoding of a text (RFC 2045 section 6): 7bit
// if it is ASCII with short lines, quoted-printable if most of it is, else base64.
func encodingOf(text string) string {
	if is7Bit(text) {
		return "7bit"
	}
	if escaped := strings.Count(text, "=") + countBeyondASCII(text); 6*escaped > len(text) {
		return "base64"
	}
	return "quoted-printable"
}

// writeText writes the text in that encoding, every line ended by CRLF.
func writeText(b *bytes.Buffer, encoding, text string) {
	switch encoding {
	case "7bit":
		b.Write(appendCRLF(b.AvailableBuffer(), []byte(text)))
	case "base64":
		writeBase64(b, appendCRLF(nil, []byte(text)))
	default:
		w := quotedprintable.NewWriter(b)
		// Neither fails, since a Buffer accepts everything. The writer makes every
		// line end CRLF, a bare CR too.
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		if !strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\r") {
			b.WriteString("\r\n")
		}
	}
}

// appendCRLF appends s with every line end, a bare CR or LF too, made CRLF (RFC
// 5322 section 2.3), and the last line ended.
func appendCRLF(dst, s []byte) []byte {
	for len(s) > 0 {
		line, next := s, len(s)
		if i := bytes.IndexByte(s, '\n'); i >= 0 {
			line, next = s[:i], i+1
		}
		if i := bytes.IndexByte(line, '\r'); i >= 0 {
			if i < len(line)-1 || next == len(line) {
				next = i + 1 // a bare CR
			}
			line = line[:i]
		}
		dst = append(append(dst, line...), "\r\n"...)
		s = s[next:]
	}
	return dst
}

// is7Bit reports a text that no relay has a reason to change: printable ASCII and
// tabs in short lines, none of which could be taken for a boundary.
func is7Bit(s string) bool {
	line := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r' || c == '\n':
			line = -1
		case c >= ' ' && c <= '~', c == '\t':
		default:
			return false
		}
		if line++; line > shortLine {
			return false
		}
	}
	return !strings.Contains(s, "--"+boundaryMark)
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

// writeBase64 writes content in lines (RFC 2045 section 6.8).
func writeBase64(b *bytes.Buffer, content []byte) {
	const raw = base64Line / 4 * 3
	b.Grow((len(content)+raw-1)/raw*(base64Line+2) + 2)
	out := b.AvailableBuffer()
	for len(content) > 0 {
		n := min(raw, len(content))
		out = append(base64.StdEncoding.AppendEncode(out, content[:n]), "\r\n"...)
		content = content[n:]
	}
	b.Write(out)
}

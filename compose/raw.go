package compose

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// composeRaw is a mail that came whole, as it is sent: without Bcc and
// Resent-Bcc (RFC 5322 section 3.6.3), each line ended by CRLF, and untouched
// otherwise. A signature over it stays good.
func composeRaw(raw []byte) (*Message, error) {
	h, err := mail.ReadHead(raw)
	if err != nil {
		return nil, &schema.EnvelopeError{Field: "message", Problem: err.Error(), Reason: mail.ReasonBadEnvelope}
	}
	l := &Message{MessageID: rawMessageID(h)}
	visible := slices.DeleteFunc(slices.Clone(h.Fields), func(f mail.HeadField) bool { return f.Is("Bcc") || f.Is("Resent-Bcc") })
	head := h.Size
	if len(visible) == len(h.Fields) && endsInCRLF(raw) {
		l.bytes = raw
	} else {
		out := make([]byte, 0, len(raw)+len(raw)/32+2)
		for _, f := range visible {
			out = appendCRLF(out, f.Bytes)
		}
		head = len(out)
		l.bytes = appendCRLF(out, raw[h.Size:])
	}
	l.Size = int64(len(l.bytes))
	l.EightBit = !isASCIIBytes(l.bytes)
	// RFC 6532 section 3: a header in UTF-8. One in another charset breaks every
	// rule, and goes as eight bits, as it always went.
	l.UTF8 = l.EightBit && !isASCIIBytes(l.bytes[:head]) && utf8.Valid(l.bytes[:head])
	return l, nil
}

func rawMessageID(h *mail.Head) string {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Is("Message-ID") {
			return strings.Trim(mail.Sentence(string(f.Value()), longestWord), "<>")
		}
	}
	return ""
}

// endsInCRLF reports a mail whose every line ends in CRLF, and in which no CR
// or LF stands otherwise.
func endsInCRLF(b []byte) bool {
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		return false
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n') // there is one: b ends in it
		if i < 1 || bytes.IndexByte(b[:i], '\r') != i-1 {
			return false
		}
		b = b[i+1:]
	}
	return true
}

// isASCIIBytes looks at eight bytes at a time.
func isASCIIBytes(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if (b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7])&0x80 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

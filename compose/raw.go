package compose

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// composeRaw is a raw message as it is sent: without Bcc and Resent-Bcc (RFC 5322
// section 3.6.3) and without what is no field in front, with a Date and a Message-ID, with CRLF line ends, and otherwise
// unchanged, so that a signature over it stays valid.
func composeRaw(e *schema.Envelope, origin string, at time.Time) (*Message, error) {
	raw := mail.WithoutFirstLine(e.Raw)
	h, err := mail.ReadHead(raw)
	if err != nil {
		return nil, &schema.EnvelopeError{Field: "message", Problem: err.Error(), Reason: mail.ReasonBadEnvelope}
	}
	added, id := fromOrigin(e, h, origin, at)
	m := &Message{MessageID: cmp.Or(id, rawMessageID(h))}
	visible := slices.DeleteFunc(slices.Clone(h.Fields), func(f mail.HeadField) bool { return f.Is("Bcc") || f.Is("Resent-Bcc") })
	head := h.Size
	if len(visible) == len(h.Fields) && len(added) == 0 && endsInCRLF(raw) {
		m.bytes = raw
	} else {
		out := make([]byte, 0, len(raw)+len(raw)/32+len(added)+2)
		for _, f := range visible {
			out = appendCRLF(out, f.Bytes)
		}
		out = append(out, added...)
		head = len(out)
		m.bytes = appendCRLF(out, raw[h.Size:])
	}
	m.Size = int64(len(m.bytes))
	m.EightBit = !isASCIIBytes(m.bytes)
	// A subject or a name in UTF-8 is sent as eight bits, as mailers have always done:
	// few relays offer SMTPUTF8, and nearly all take it. An address needs it.
	m.UTF8 = m.EightBit && !isASCIIBytes(m.bytes[:head]) && slices.ContainsFunc(visible, hasUTF8Address)
	return m, nil
}

// addressFields are those of RFC 5322 sections 3.6.2, 3.6.3 and 3.6.6 that are sent.
var addressFields = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Cc",
}

// hasUTF8Address reports a field with an address in UTF-8 (RFC 6532 section 3.2).
func hasUTF8Address(f mail.HeadField) bool {
	if isASCIIBytes(f.Bytes) || !utf8.Valid(f.Bytes) || !slices.ContainsFunc(addressFields, f.Is) {
		return false
	}
	list := mail.LooseAddrSpecs(f.Value(), len(f.Bytes))
	return slices.ContainsFunc(list, func(a string) bool { return strings.Contains(a, "@") && !isASCII(a) })
}

func rawMessageID(h *mail.Head) string {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Is("Message-ID") {
			return strings.Trim(mail.Sentence(string(f.Value()), longestWord), "<>")
		}
	}
	return ""
}

// endsInCRLF reports a message in which every line ends in CRLF, and which has no
// other CR or LF.
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

// isASCIIBytes compares eight bytes at a time.
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

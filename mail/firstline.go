package mail

import "bytes"

// WithoutFirstLine is a message without what other programs put before its header: a
// byte order mark, and the line "From " or ">From " of mailbox files and patches. A
// field of that name stays, also one with a space before its colon.
func WithoutFirstLine(raw []byte) []byte {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	for bytes.HasPrefix(raw, []byte("From ")) || bytes.HasPrefix(raw, []byte(">From ")) {
		// A line that ReadHead accepts is a field; one that it refuses for more than its
		// name stays, to be refused.
		line, text, _ := new(Head).next(raw)
		if new(Head).add(line, text) == nil || bytes.ContainsAny(text, "\r\x00") {
			break
		}
		raw = raw[len(line):]
	}
	return raw
}

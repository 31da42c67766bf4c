package compose

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

const (
	// lineLength is where lines are folded. RFC 5322 section 2.1.1 asks for 78
	// at most; RFC 2047 section 2 demands 76 where an encoded word stands.
	lineLength = 76
	// longestWord is what is left as it is where a line cannot be folded. With
	// the longest name before it, 64, it stays below the 998 of RFC 5322
	// section 2.1.1.
	longestWord = 900
)

// header writes the fields of a header, folded. go-message's writer is not
// used: it breaks long words apart, rewrites the case of names, and leaves
// encoded-looking text to be decoded.
type header struct {
	b    bytes.Buffer
	line int  // length of the line at hand
	word int  // words in the field at hand
	open bool // a field is begun
	utf8 bool // something beyond ASCII stands in it
	err  error
}

// bytes ends the last field.
func (h *header) bytes() []byte {
	h.end()
	return h.b.Bytes()
}

// fail keeps the first fault.
func (h *header) fail(field, format string, args ...any) {
	if h.err == nil {
		h.err = &schema.EnvelopeError{Field: field, Problem: fmt.Sprintf(format, args...), Reason: mail.ReasonBadEnvelope}
	}
}

func (h *header) begin(name string) {
	h.end()
	h.b.WriteString(name + ":")
	h.line, h.word, h.open = len(name)+1, 0, true
}

func (h *header) end() {
	if h.open {
		h.b.WriteString("\r\n")
	}
	h.open = false
}

// fold ends the line; the space of the next word makes it a continuation
// (RFC 5322 section 2.2.3).
func (h *header) fold() {
	h.b.WriteString("\r\n")
	h.line = 0
}

// put writes a space and a word, on a line of its own where it fits only
// there. The first word stays beside the name: some readers stumble over an
// empty first line.
func (h *header) put(word string) {
	if h.word > 0 && h.line+1+len(word) > lineLength {
		h.fold()
	}
	h.b.WriteString(" " + word)
	h.line += 1 + len(word)
	h.word++
}

// literal writes a field whose value is known to be short ASCII.
func (h *header) literal(name, value string) {
	h.begin(name)
	h.put(value)
}

// text writes a field that people read (RFC 5322 section 2.2.1), so that it
// reads as value whatever value looks like: as it is where it can be, with no
// word above longest bytes, and else encoded as a whole.
func (h *header) text(name, value string, longest int) {
	h.begin(name)
	words := foldable(value)
	tooLong := func(w string) bool { return len(w) > longest }
	if !isPlain(value) || slices.ContainsFunc(words, tooLong) {
		h.encoded(value)
		return
	}
	for _, w := range words {
		h.put(w)
	}
}

// foldable cuts s where a line may be folded and unfolded without a change: at
// single spaces. Readers disagree on what becomes of two.
func foldable(s string) []string {
	if s == "" {
		return nil
	}
	var words []string
	start := 0
	for i := 1; i < len(s)-1; i++ {
		if s[i] == ' ' && s[i-1] != ' ' && s[i+1] != ' ' {
			words = append(words, s[start:i])
			start = i + 1
		}
	}
	return append(words, s[start:])
}

// isPlain reports a text that reads as itself.
func isPlain(s string) bool {
	return isPrintable(s) && strings.TrimSpace(s) == s && !looksEncoded.MatchString(s)
}

// looksEncoded matches everything that a reader could take for an encoded word
// (RFC 2047 section 2), be it a careless one.
var looksEncoded = regexp.MustCompile(`=\?.*\?[bBqQ]\?.*\?=`)

// isPrintable reports a string of printable ASCII and spaces.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

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
	// lineLength is where lines are folded. RFC 5322 section 2.1.1 asks for at most
	// 78; RFC 2047 section 2 demands at most 76 in a line with an encoded word.
	lineLength = 76
	// longestWord is the longest word that is written as it is in a text for people.
	// With the longest name before it, of 64 bytes, it stays below longestLine.
	longestWord = 900
)

// header writes the fields of a header, folded. It does not use go-message's
// writer, which splits long words, changes the case of names, and writes text that
// looks encoded so that readers decode it.
type header struct {
	b    bytes.Buffer
	line int  // length of the current line
	word int  // words in the current field
	open bool // a field has begun
	utf8 bool // it has characters beyond ASCII
	err  error
	// eightBit: an attached message has bytes above 127.
	eightBit bool
}

// bytes ends the last field.
func (h *header) bytes() []byte {
	h.end()
	return h.b.Bytes()
}

// fail keeps the first error.
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

// put writes a space and a word, on a new line if the current one has no room. The
// first word stays beside the name, because some readers cannot read an empty
// first line.
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

// text writes an unstructured field (RFC 5322 section 2.2.1) so that readers get
// exactly value: as it is if that is possible and no word is longer than longest
// bytes, else all of it encoded.
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

// foldable cuts s at single spaces, where a line may be folded and unfolded without
// a change. Readers disagree on two spaces.
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

// isPlain reports a text that every reader reads unchanged.
func isPlain(s string) bool {
	return isPrintable(s) && strings.TrimSpace(s) == s && !looksEncoded.MatchString(s)
}

// looksEncoded matches everything that a reader, even a careless one, could take for
// an encoded word (RFC 2047 section 2).
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

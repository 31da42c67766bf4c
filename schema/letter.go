package schema

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MaxError is what the sentence on a dead letter and in a record may take, in bytes.
const MaxError = 1024

// Letter is a dead letter: a message that failed for good, whole, with why and
// with the log of every attempt.
type Letter struct {
	Copy
	Reason Reason
	// Error is a sentence that names the field, or the relay's reply.
	Error string
	// Marker is set where the letter is no longer dead: what happened to it
	// since. A marker has no body.
	Marker Event
	// Producer holds the producer's own headers.
	Producer map[string][]string
	// HeadersLost: the producer's headers could not be read, and Producer holds
	// none of them.
	HeadersLost bool
	Body        []byte
}

// Message is the letter as headers and body. Where the producer's headers
// cannot stand beside ours, for their size or a name, they begin the body, and
// [HeaderBody] says so.
func (l *Letter) Message() (header map[string][]string, body []byte) {
	producer, body, form := l.Producer, l.Body, ""
	switch {
	case l.HeadersLost:
		form = BodyHeadersLost
	case l.Unwritable() != nil:
		body = append(headerBlock(producer), body...)
		producer, form = nil, BodyWithHeaders
	}
	header = l.Headers(producer)
	if form != "" {
		header[HeaderBody] = []string{form}
	}
	header[HeaderReason] = []string{string(l.Reason)}
	if e := Sentence(l.Error, MaxError); e != "" {
		header[HeaderError] = []string{e}
	}
	if l.Marker != "" {
		header[HeaderMarker] = []string{string(l.Marker)}
		return header, nil
	}
	return header, body
}

// Unwritable is why no copy can carry the producer's headers on; nil where one can.
func (l *Letter) Unwritable() error {
	if l.HeadersLost {
		return errors.New("its NATS headers could not be read, and they may say when to send it, or not to")
	}
	for _, name := range slices.Sorted(maps.Keys(l.Producer)) {
		if !writable(name) {
			return fmt.Errorf("the header %q cannot be written again", name)
		}
	}
	if size := headerSize(l.Producer); size > MaxProducerHeaders {
		return fmt.Errorf("its NATS headers take %d bytes, at most %d can be written again", size, MaxProducerHeaders)
	}
	return nil
}

// ParseLetter reads a dead letter or a marker.
func ParseLetter(lane Lane, header map[string][]string, body []byte) (*Letter, error) {
	c, err := ParseCopy(lane, header)
	if err != nil {
		return nil, fmt.Errorf("read dead letter: %w", err)
	}
	l := &Letter{
		Copy: c, Producer: ProducerHeaders(header), Body: body,
		Reason: Reason(first(header[HeaderReason])), Error: first(header[HeaderError]), Marker: Event(first(header[HeaderMarker])),
	}
	if l.Marker != "" {
		return l, nil
	}
	switch first(header[HeaderBody]) {
	case BodyHeadersLost:
		l.HeadersLost = true
	case BodyWithHeaders:
		if l.Producer, l.Body, err = splitHeaderBlock(body); err != nil {
			return nil, fmt.Errorf("read dead letter of %s: %w", c.Line, err)
		}
	}
	return l, nil
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

func headerSize(h map[string][]string) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// headerBlock writes headers as lines "Name: value", ended by an empty line.
func headerBlock(h map[string][]string) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			b.WriteString(name + ": " + strings.NewReplacer("\r", " ", "\n", " ").Replace(v) + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func splitHeaderBlock(b []byte) (map[string][]string, []byte, error) {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return nil, nil, errors.New("the headers in its body have no end")
	}
	h := make(map[string][]string)
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	return h, body, nil
}

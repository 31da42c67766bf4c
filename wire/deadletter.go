package wire

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// DeadLetter is a message that failed for good, complete, with the reason and the
// log of every attempt, or the tombstone that is left of one.
type DeadLetter struct {
	Copy
	Reason mail.Reason
	// Error is the relay's reply, or a sentence that names the field.
	Error string
	// Tombstone is empty, or the message is no longer dead: then it is what
	// happened since, and there is no body.
	Tombstone Event
	// Producer holds the producer's own headers.
	Producer map[string][]string
	// HeadersLost: the producer's headers could not be read, and Producer holds
	// none of them.
	HeadersLost bool
	Body        []byte
}

// Message is the dead letter as headers and body. If the producer's headers cannot
// be written beside ours, because of their size or a name, they begin the body,
// and [HeaderBody] says so.
func (l *DeadLetter) Message() (header map[string][]string, body []byte) {
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
	if e := mail.Sentence(l.Error, mail.MaxError); e != "" {
		header[HeaderError] = []string{e}
	}
	if l.Tombstone != "" {
		header[HeaderTombstone] = []string{string(l.Tombstone)}
		return header, nil
	}
	return header, body
}

// Unwritable is why a copy cannot have the producer's headers; nil if it can.
func (l *DeadLetter) Unwritable() error {
	if l.HeadersLost {
		return errors.New("its NATS headers could not be read, and they may say when to send it, or not to")
	}
	for _, name := range slices.Sorted(maps.Keys(l.Producer)) {
		if !schema.Writable(name) {
			return fmt.Errorf("the header %q cannot be written again", name)
		}
	}
	if size := schema.HeaderSize(l.Producer); size > schema.MaxProducerHeaders {
		return fmt.Errorf("its NATS headers take %d bytes, at most %d can be written again", size, schema.MaxProducerHeaders)
	}
	return nil
}

// ParseDeadLetter reads a dead letter or a tombstone of that lane.
func ParseDeadLetter(lane Lane, header map[string][]string, body []byte) (*DeadLetter, error) {
	c, err := ParseCopy(lane, header)
	if err != nil {
		return nil, fmt.Errorf("read dead letter: %w", err)
	}
	l := &DeadLetter{
		Copy: c, Producer: schema.ProducerHeaders(header), Body: body,
		Reason: mail.Reason(first(header[HeaderReason])), Error: first(header[HeaderError]), Tombstone: Event(first(header[HeaderTombstone])),
	}
	if l.Tombstone != "" {
		return l, nil
	}
	switch first(header[HeaderBody]) {
	case BodyHeadersLost:
		l.HeadersLost = true
	case BodyWithHeaders:
		if l.Producer, l.Body, err = splitHeaderBlock(body); err != nil {
			return nil, fmt.Errorf("read dead letter of %s: %w", c.Key, err)
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

package schema

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// MaxLog is what the log of attempts may take in a copy's headers, in bytes:
// with the producer's headers and ours it has to stay below the 64 KiB that
// JetStream allows in all.
const MaxLog = 44 << 10

// maxCount bounds hops, attempts and replays, so that one more is always one more.
const maxCount = math.MaxInt32

// Copy is what a message of ours carries in its headers: whose it is and its
// history. A fresh message has none; its Copy is made by [FirstHop].
type Copy struct {
	Line Line
	// Hop counts every copy of the line, whatever made it.
	Hop int
	// Attempts is the number used up of the budget.
	Attempts int
	// Enqueued is the broker's time of first acceptance.
	Enqueued time.Time
	Log      []Attempt
	// DeadSeq is the sequence of the dead letter a replay came from.
	DeadSeq  uint64
	Replays  int
	Replayed time.Time
}

// Next is the copy one hop on, for the same line.
func (c Copy) Next() Copy {
	c.Hop++
	return c
}

// Headers are the producer's own and c's. The log is shortened to fit.
func (c Copy) Headers(producer map[string][]string) map[string][]string {
	h := ProducerHeaders(producer)
	set := func(k, v string) { h[k] = []string{v} }
	set(HeaderID, c.Line.ID)
	set(HeaderOrigin, c.Line.Origin)
	set(HeaderLine, c.Line.Rcpt)
	set(HeaderHop, strconv.Itoa(c.Hop))
	set(HeaderAttempts, strconv.Itoa(c.Attempts))
	set(HeaderEnqueued, c.Enqueued.UTC().Format(time.RFC3339Nano))
	if len(c.Log) > 0 {
		set(HeaderLog, string(EncodeLog(c.Log, MaxLog)))
	}
	if c.DeadSeq > 0 {
		set(HeaderDeadSeq, strconv.FormatUint(c.DeadSeq, 10))
	}
	if c.Replays > 0 {
		set(HeaderReplays, strconv.Itoa(c.Replays))
		set(HeaderReplayed, c.Replayed.UTC().Format(time.RFC3339Nano))
	}
	return h
}

// ProducerHeaders are the headers a copy keeps: the producer's, without what
// means something to the broker and without ours.
func ProducerHeaders(h map[string][]string) map[string][]string {
	kept := make(map[string][]string, len(h)+8)
	for name, values := range h {
		if !HasPrefixFold(name, NATSPrefix) && !HasPrefixFold(name, HeaderPrefix) {
			kept[name] = values
		}
	}
	return kept
}

// ParseCopy reads the headers of a copy or a dead letter of that lane.
func ParseCopy(lane Lane, h map[string][]string) (Copy, error) {
	r := headerReader{h: h}
	c := Copy{
		Line:     r.line(lane),
		Hop:      r.number(HeaderHop),
		Attempts: r.number(HeaderAttempts),
		Enqueued: r.time(HeaderEnqueued),
	}
	if h[HeaderLog] != nil {
		r.read(HeaderLog, func(s string) error { return json.Unmarshal([]byte(s), &c.Log) })
	}
	if h[HeaderDeadSeq] != nil {
		r.read(HeaderDeadSeq, func(s string) (err error) { c.DeadSeq, err = strconv.ParseUint(s, 10, 64); return err })
	}
	if h[HeaderReplays] != nil {
		c.Replays = r.number(HeaderReplays)
		c.Replayed = r.time(HeaderReplayed)
	}
	return c, r.err
}

type headerReader struct {
	h   map[string][]string
	err error
}

func (r *headerReader) read(name string, parse func(string) error) {
	if r.err != nil {
		return
	}
	v := r.h[name]
	if len(v) != 1 {
		r.err = fmt.Errorf("read header %s: %d values, want one", name, len(v))
		return
	}
	if err := parse(v[0]); err != nil {
		r.err = fmt.Errorf("read header %s: %w", name, err)
	}
}

// line is what the copy is for.
func (r *headerReader) line(lane Lane) Line {
	l := Line{Lane: lane, ID: r.text(HeaderID), Origin: r.text(HeaderOrigin), Rcpt: r.text(HeaderLine)}
	if r.err == nil {
		r.err = l.validate()
	}
	return l
}

func (r *headerReader) text(name string) (s string) {
	r.read(name, func(v string) error { s = v; return nil })
	return s
}

func (r *headerReader) number(name string) (n int) {
	r.read(name, func(v string) (err error) {
		n, err = strconv.Atoi(v)
		if err == nil && (n < 0 || n > maxCount) {
			err = fmt.Errorf("%d is not 0 to %d", n, maxCount)
		}
		return err
	})
	return n
}

func (r *headerReader) time(name string) (t time.Time) {
	r.read(name, func(v string) (err error) { t, err = time.Parse(time.RFC3339Nano, v); return err })
	return t
}

// EncodeLog writes the attempts as JSON in at most limit bytes. What does not
// fit is left out from the second oldest on: how it began and how it ended
// says most, and the numbers show the gap.
func EncodeLog(log []Attempt, limit int) []byte {
	b := marshalLog(log)
	for len(b) > limit && len(log) > 2 {
		// Attempts are about as long as each other: drop a share at once.
		drop := min(len(log)-2, max(1, len(log)*(len(b)-limit)/len(b)))
		log = append(log[:1:1], log[1+drop:]...)
		b = marshalLog(log)
	}
	if len(b) > limit && len(log) == 2 {
		log = log[1:]
		b = marshalLog(log)
	}
	if len(b) > limit && len(log) == 1 {
		last := log[0]
		last.Outcomes = nil
		b = marshalLog([]Attempt{last})
	}
	return b
}

func marshalLog(log []Attempt) []byte {
	b, err := json.Marshal(log)
	if err != nil {
		// Texts that are not UTF-8 are the only cause, and Sentence makes them so.
		return []byte("[]")
	}
	return b
}

// Sentence makes s fit for one line of a header or a log: no controls, valid
// UTF-8, at most n bytes.
func Sentence(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if hasControl(string(r)) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(Cut(s, n))
}

package storm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Entry is a line of the relay's book: a message that it accepted.
type Entry struct {
	At    time.Time `json:"at"`
	Rcpts []string  `json:"rcpts"`
	ID    string    `json:"id"`
}

// Turn is a line of the relay's file of open transactions: the final dot has
// come, or the reply to it has gone.
type Turn struct {
	At    time.Time `json:"at"`
	What  string    `json:"what"` // dot or reply
	ID    string    `json:"id"`
	Rcpts []string  `json:"rcpts"`
}

// ReadLines reads a file of JSON objects, one a line. A process that was killed
// may have left its last line half written.
func ReadLines[T any](file string) ([]T, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []T
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var x T
		if json.Unmarshal(s.Bytes(), &x) == nil {
			all = append(all, x)
		}
	}
	return all, s.Err()
}

var messageID = regexp.MustCompile(`^<?\d+-\d+\.([^@]+)@`)

// IDOf is the mail's id, from the Message-ID that the queue gave it.
func IDOf(header string) string {
	if m := messageID.FindStringSubmatch(header); m != nil {
		return m[1]
	}
	return header
}

var origin = regexp.MustCompile(`^<?(\d+)-\d+\.`)

// Waited is how long the mail was on its way when the relay took it.
func (e Entry) Waited() time.Duration {
	m := origin.FindStringSubmatch(e.ID)
	if m == nil {
		return 0
	}
	ns, _ := strconv.ParseInt(m[1], 10, 64)
	return e.At.Sub(time.Unix(0, ns))
}

// Key is one recipient of one mail.
type Key struct{ ID, Rcpt string }

func (k Key) String() string { return k.ID + " " + k.Rcpt }

// Accepted counts how often the relay took each mail for each recipient.
func Accepted(book string) (map[Key]int, error) {
	entries, err := ReadLines[Entry](book)
	if err != nil {
		return nil, fmt.Errorf("read the relay's book: %w", err)
	}
	n := make(map[Key]int)
	for _, e := range entries {
		for _, r := range e.Rcpts {
			n[Key{IDOf(e.ID), r}]++
		}
	}
	return n, nil
}

// Fault is a time in which something was killed or away.
type Fault struct{ From, To time.Time }

// hit reports that the fault and that time overlap.
func (f Fault) hit(from, to time.Time) bool { return !from.After(f.To) && !f.From.After(to) }

// inexact is how far the books' times may be from each other, and from a fault.
const inexact = 200 * time.Millisecond

// Open are those that were open at the relay at a fault: the dot had come, and the reply not
// gone or only just.
func Open(file string, faults []Fault) (map[Key]bool, error) {
	turns, err := ReadLines[Turn](file)
	if err != nil {
		return nil, fmt.Errorf("read the relay's open transactions: %w", err)
	}
	open, came := make(map[Key]bool), make(map[Key]time.Time)
	mark := func(k Key, from, to time.Time) {
		hit := func(f Fault) bool { return f.hit(from.Add(-inexact), to.Add(inexact)) }
		open[k] = open[k] || slices.ContainsFunc(faults, hit)
	}
	for _, x := range turns {
		for _, r := range x.Rcpts {
			k := Key{IDOf(x.ID), r}
			at, before := came[k]
			switch {
			case x.What != "dot":
				mark(k, at, x.At)
				delete(came, k)
				continue
			case before:
				mark(k, at, at) // its reply never went
			}
			came[k] = x.At
		}
	}
	for k, at := range came {
		mark(k, at, at.Add(time.Hour))
	}
	maps.DeleteFunc(open, func(_ Key, is bool) bool { return !is })
	return open, nil
}

// Explained are those that the relay accepted again because of a fault: it hit while the
// acceptance before was not recorded. file is the relay's of open transactions, and recorded
// has the time of the first record that says delivered. Whoever was sent to again after that
// is not explained.
func Explained(file string, faults []Fault, recorded map[Key]time.Time) (map[Key]bool, error) {
	turns, err := ReadLines[Turn](file)
	if err != nil {
		return nil, fmt.Errorf("read the relay's open transactions: %w", err)
	}
	dots := make(map[Key][]time.Time)
	for _, x := range turns {
		if x.What != "dot" {
			continue
		}
		for _, r := range x.Rcpts {
			k := Key{IDOf(x.ID), r}
			dots[k] = append(dots[k], x.At)
		}
	}
	explained := make(map[Key]bool)
	for k, at := range dots {
		explained[k] = true
		for i := range at[1:] {
			explained[k] = explained[k] && explains(faults, at[i], at[i+1], recorded[k])
		}
	}
	return explained, nil
}

// explains reports that a fault explains why what was accepted at one time was accepted at
// another too; it was recorded at a third time, if that is not zero.
func explains(faults []Fault, first, second, recorded time.Time) bool {
	until := second
	if !recorded.IsZero() && recorded.Before(second) {
		until = recorded
	}
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.hit(first.Add(-inexact), until.Add(inexact)) })
}

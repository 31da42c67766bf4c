package storm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
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

// Window is what the way from the relay's reply to a record may take on a busy
// machine.
const Window = 200 * time.Millisecond

// Open are those whose deliveries need not have been recorded at a fault: the
// dot had come, and the reply not gone or only just.
func Open(file string, faults []Fault) (map[Key]bool, error) {
	turns, err := ReadLines[Turn](file)
	if err != nil {
		return nil, fmt.Errorf("read the relay's open transactions: %w", err)
	}
	open := make(map[Key]bool)
	came := make(map[Key]time.Time)
	mark := func(k Key, from, to time.Time) {
		for _, f := range faults {
			if from.Before(f.To.Add(Window)) && f.From.Before(to.Add(Window)) {
				open[k] = true
			}
		}
	}
	for _, x := range turns {
		for _, r := range x.Rcpts {
			k := Key{IDOf(x.ID), r}
			if x.What == "dot" {
				if at, ok := came[k]; ok {
					mark(k, at, at) // its reply never went
				}
				came[k] = x.At
				continue
			}
			mark(k, came[k], x.At)
			delete(came, k)
		}
	}
	for k, at := range came {
		mark(k, at, at.Add(time.Hour))
	}
	return open, nil
}

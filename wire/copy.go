package wire

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/schema"
)

// maxCount bounds generations, attempts and replays, so that adding one never
// overflows.
const maxCount = math.MaxInt32

// Copy is what a message of ours has in its headers: its key and its history.
type Copy struct {
	Key Key
	// Generation is the number of copies that were made under the key before this
	// one, for whatever reason.
	Generation int
	// Attempts is the number of attempts used up.
	Attempts int
	// Enqueued is the broker's time of first acceptance.
	Enqueued time.Time
	Log      []Attempt
	// DeadSeq is the sequence of the dead letter that was replayed; 0 for none.
	DeadSeq  uint64
	Replays  int
	Replayed time.Time
}

// Next is the copy of the same key, one generation on.
func (c Copy) Next() Copy {
	c.Generation++
	return c
}

// Headers are the producer's own and c's. The log is shortened to fit.
func (c Copy) Headers(producer map[string][]string) map[string][]string {
	h := schema.ProducerHeaders(producer)
	set := func(k, v string) { h[k] = []string{v} }
	set(HeaderID, c.Key.ID)
	set(HeaderOrigin, c.Key.Origin)
	set(HeaderRecipient, c.Key.Recipient)
	set(HeaderGeneration, strconv.Itoa(c.Generation))
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

// ParseCopy reads the headers of a copy or a dead letter of that lane.
func ParseCopy(lane Lane, h map[string][]string) (Copy, error) {
	r := headerReader{h: h}
	c := Copy{
		Key:        r.key(lane),
		Generation: r.number(HeaderGeneration),
		Attempts:   r.number(HeaderAttempts),
		Enqueued:   r.time(HeaderEnqueued),
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

func (r *headerReader) key(lane Lane) Key {
	k := Key{Lane: lane, ID: r.text(HeaderID), Origin: r.text(HeaderOrigin), Recipient: r.text(HeaderRecipient)}
	if r.err == nil {
		r.err = k.validate()
	}
	return k
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

package wire

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// All stands for a message's recipients together.
const All = "all"

// Key identifies what is settled as one: the lane, id and origin of a message's
// acceptance, which never change, and whom it is for, [All] recipients or one of
// them. Records, copies and dead letters have a key.
type Key struct {
	Lane Lane
	// ID is for people; subjects have its [mail.Token].
	ID string
	// Origin is "<unix ns>-<stream sequence>" of the first acceptance.
	Origin string
	// Recipient is [All] or the index of a recipient, from 0.
	Recipient string
}

// Origin names the message that a stream accepted at that time and sequence.
func Origin(t time.Time, seq uint64) string {
	return strconv.FormatInt(t.UnixNano(), 10) + "-" + strconv.FormatUint(seq, 10)
}

// FreshKey is the key of what a lane accepted at that time and sequence, as long
// as no id is known: the id is the origin.
func FreshKey(lane Lane, stored time.Time, seq uint64) Key {
	origin := Origin(stored, seq)
	return Key{Lane: lane, ID: origin, Origin: origin, Recipient: All}
}

// For is the key of one recipient of the same message.
func (k Key) For(index int) Key {
	k.Recipient = strconv.Itoa(index)
	return k
}

// Together is the key of all recipients of the same message.
func (k Key) Together() Key {
	k.Recipient = All
	return k
}

// IsAll reports whether k is for all recipients of its message.
func (k Key) IsAll() bool { return k.Recipient == All }

// Index is the recipient that k is for; false for [All].
func (k Key) Index() (int, bool) {
	i, err := strconv.Atoi(k.Recipient)
	return i, err == nil && i >= 0
}

// RecipientsIn are those of the envelope that k is for; none if the envelope has
// no such recipient.
func (k Key) RecipientsIn(e *schema.Envelope) []mail.Recipient {
	index, one := k.Index()
	if !one {
		return e.Recipients()
	}
	if r, ok := e.At(index); ok {
		return []mail.Recipient{r}
	}
	return nil
}

var originForm = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)

// validate reports a key that is not ours. All parts but the id must be usable as
// tokens of subjects.
func (k Key) validate() error {
	switch i, one := k.Index(); {
	case !originForm.MatchString(k.Origin):
		return fmt.Errorf("%q is not an origin: <unix ns>-<sequence>", mail.Cut(k.Origin, 64))
	case k.Recipient != All && (!one || strconv.Itoa(i) != k.Recipient):
		return fmt.Errorf("%q is neither %q nor the index of a recipient", mail.Cut(k.Recipient, 64), All)
	}
	return nil
}

// tail is the end of every subject of the key.
func (k Key) tail() string { return mail.Token(k.ID) + "." + k.Origin + "." + k.Recipient }

// CopyState is the state of a copy in its subject.
type CopyState string

// The states of copies.
const (
	// CopyLater waits for its time.
	CopyLater CopyState = "later"
	// CopyDue is ready to be taken. Waiting copies fire into it.
	CopyDue CopyState = "due"
	// CopyAny matches all states.
	CopyAny CopyState = "*"
)

// CopySubject is the subject of the key's copy in that state. A key has one
// copy, whatever its state: write it with an expected sequence over
// CopySubject(CopyAny), always with this literal filter.
func (k Key) CopySubject(s CopyState) string {
	return "mail.copy." + string(k.Lane) + "." + string(s) + "." + k.tail()
}

// RecordSubject is where the key's records are.
func (k Key) RecordSubject() string { return "mail.record." + string(k.Lane) + "." + k.tail() }

// RecordFilter matches the key's records whatever its id, for a message that must
// not be decoded. It is slow if there are many records.
func (k Key) RecordFilter() string {
	return "mail.record." + string(k.Lane) + ".*." + k.Origin + "." + k.Recipient
}

// DeadSubject is where the key's dead letter is.
func (k Key) DeadSubject() string { return "mail.dead." + string(k.Lane) + "." + k.tail() }

// EventSubject is the bucket of the log with the key's entries.
func (k Key) EventSubject() string {
	h := fnv.New32a()
	h.Write([]byte(mail.Token(k.ID)))
	return "mail.event." + string(k.Lane) + "." + strconv.FormatUint(uint64(h.Sum32()%EventBuckets), 10)
}

// EventFilter matches all entries of the key's lane.
func (k Key) EventFilter() string { return "mail.event." + string(k.Lane) + ".*" }

// String is the key for people, in logs.
func (k Key) String() string {
	if k.IsAll() {
		return k.ID
	}
	return k.ID + " recipient " + k.Recipient
}

// ParseKey reads a key from a subject of a record, a copy or a dead letter:
// mail.<kind>.<lane>.<id>.<origin>.<recipient>, for a copy with the state after the
// lane. The key's ID is the id's [mail.Token].
func ParseKey(subject string) (Key, error) {
	t := strings.Split(subject, ".")
	if len(t) == 7 && t[1] == "copy" {
		t = append(t[:3:3], t[4:]...)
	}
	if len(t) != 6 || t[0] != "mail" {
		return Key{}, fmt.Errorf("subject %q is not mail.<kind>.<lane>.<id>.<origin>.<recipient>", subject)
	}
	k := Key{Lane: Lane(t[2]), ID: t[3], Origin: t[4], Recipient: t[5]}
	if err := k.validate(); err != nil {
		return Key{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	return k, nil
}

// KeyTail is how the subjects of a message's keys may end.
type KeyTail struct {
	// Filter matches the last three tokens of a subject.
	Filter string
	// not is the id whose subjects an earlier tail has.
	not string
}

// KeyTails are the tails of all keys of a message that people name by its id or by
// its origin. What looks like an origin may be an id, so there may be two tails; no
// subject has both.
func KeyTails(name string) []KeyTail {
	tails := []KeyTail{{Filter: mail.Token(name) + ".*.*"}}
	if _, ok := OriginTime(name); ok {
		tails = append(tails, KeyTail{Filter: "*." + name + ".*", not: mail.Token(name)})
	}
	return tails
}

// Has reports whether a subject that the filter matches is this tail's own.
func (t KeyTail) Has(subject string) bool {
	k, err := ParseKey(subject)
	return err == nil && (t.not == "" || k.ID != t.not)
}

// OriginTime is the time of first acceptance in an origin; false if s is not an
// origin. An id looks like an origin only if somebody means it to.
func OriginTime(s string) (time.Time, bool) {
	ns, seq, _ := strings.Cut(s, "-")
	n, err := strconv.ParseInt(ns, 10, 64)
	if err != nil || n < 0 || len(ns) < 16 {
		return time.Time{}, false
	}
	at := time.Unix(0, n)
	if q, err := strconv.ParseUint(seq, 10, 64); err != nil || Origin(at, q) != s {
		return time.Time{}, false
	}
	return at, true
}

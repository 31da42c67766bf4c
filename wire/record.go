package wire

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postrider/postrider/mail"
)

// Event names what happened to a key.
type Event string

// The events.
const (
	EventScheduled Event = "scheduled"
	EventDeferred  Event = "deferred"
	EventRequeued  Event = "requeued"
	EventDelivered Event = "delivered"
	EventFailed    Event = "failed"
	EventExpired   Event = "expired"
	EventExhausted Event = "exhausted"
	EventUncertain Event = "uncertain"
	EventReplayed  Event = "replayed"
	EventDiscarded Event = "discarded"
)

// Events lists them all.
var Events = []Event{
	EventScheduled, EventDeferred, EventRequeued, EventDelivered, EventFailed, EventExpired,
	EventExhausted, EventUncertain, EventReplayed, EventDiscarded,
}

// EventOf is the event of a failure for that reason.
func EventOf(r mail.Reason) Event {
	switch r {
	case mail.ReasonExhausted:
		return EventExhausted
	case mail.ReasonExpired:
		return EventExpired
	}
	return EventFailed
}

// State is the state of one recipient in a record.
type State string

const (
	// StatePending: still to be sent to, by the delivery of this generation.
	StatePending State = "pending"
	// StateDelivered: accepted by a relay; never sent to again.
	StateDelivered State = "delivered"
	// StateScheduled: waits in a copy of the next generation.
	StateScheduled State = "scheduled"
	// StateDead: is in a dead letter of the next generation.
	StateDead State = "dead"
)

func (s State) known() bool {
	switch s {
	case StatePending, StateDelivered, StateScheduled, StateDead:
		return true
	}
	return false
}

// RecordVersion is the version of [Record]'s shape.
const RecordVersion = 1

// Record is what is known of a key at one generation. The last record of a key
// counts.
type Record struct {
	V          int    `json:"v"`
	ID         string `json:"id"`
	Origin     string `json:"origin"`
	Lane       Lane   `json:"lane"`
	Recipient  string `json:"recipient"`
	Generation int    `json:"generation"`
	Event      Event  `json:"event"`
	// Reason is set if all recipients that are left are dead for the same reason.
	Reason     mail.Reason       `json:"reason,omitempty"`
	At         time.Time         `json:"at"`
	Enqueued   time.Time         `json:"enqueued,omitzero"`
	From       string            `json:"from,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Size       int64             `json:"size,omitempty"`
	Tags       []string          `json:"tags,omitempty"`
	Recipients []RecipientRecord `json:"recipients"`
	// MessageID is that of a mail which has its own, without its angle brackets. One of ours
	// begins with the origin and is not here.
	MessageID string `json:"message_id,omitempty"`
	// Attempts are the attempts so far, those of earlier generations included.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Counted is the number of attempts used up.
	Counted int `json:"counted,omitempty"`
	// Together is the state in which all recipients go on, as one message; empty
	// if they are split or some are still pending. A later merge leaves
	// [StateScheduled] as it is, because that copy stays one.
	Together State `json:"together,omitempty"`
	// Due is when the copy is to be tried.
	Due time.Time `json:"due,omitzero"`
	// Replays counts the replays of the key. Replayed is the time of the last one.
	Replays  int       `json:"replays,omitempty"`
	Replayed time.Time `json:"replayed,omitzero"`
	// DeadSeq is the sequence of the dead letter that was replayed; 0 for none.
	DeadSeq uint64 `json:"dead_seq,omitempty"`
	// Error is the sentence of the dead letter, if no reply says it.
	Error string `json:"error,omitempty"`
	// Delivery is the number of deliveries of the message up to this record, if
	// some of its recipients are still pending. A crash loop is counted from
	// there, because it makes deliveries without a record.
	Delivery int `json:"delivery,omitempty"`
}

// RecipientRecord is the state of a recipient, and the reply that led to it.
type RecipientRecord struct {
	Address  string      `json:"address"`
	Index    int         `json:"index"`
	State    State       `json:"state"`
	Reason   mail.Reason `json:"reason,omitempty"`
	Code     int         `json:"code,omitempty"`
	Enhanced string      `json:"enhanced,omitempty"`
	Reply    string      `json:"reply,omitempty"`
	Relay    string      `json:"relay,omitempty"`
	QueueID  string      `json:"queue_id,omitempty"`
	// HangUps counts how often a relay closed the session at this recipient, under
	// this key and since its last replay. Recipients with fewer come first.
	HangUps int `json:"hang_ups,omitempty"`
}

// ErrNewer: a newer version of Postrider wrote it.
var ErrNewer = errors.New("written by a newer version of Postrider")

// Understood fails with [ErrNewer] if the record's version or a state in it is
// unknown here. Such a record must not be acted on: what it says of a recipient
// would be overlooked.
func Understood(r *Record) error {
	if r.V != RecordVersion {
		return fmt.Errorf("record version %d, known is %d: %w", r.V, RecordVersion, ErrNewer)
	}
	for _, x := range r.Recipients {
		if !x.State.known() {
			return fmt.Errorf("state %q of a recipient: %w", x.State, ErrNewer)
		}
	}
	if r.Together != "" && !r.Together.known() {
		return fmt.Errorf("state %q of all recipients: %w", r.Together, ErrNewer)
	}
	return nil
}

// DecodeRecord reads a record. Fields of later versions are ignored: whoever acts
// on the record asks [Understood] first.
func DecodeRecord(b []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	return &r, nil
}

// Encode writes the record as JSON.
func (r *Record) Encode() ([]byte, error) {
	// Invalid UTF-8 is allowed: a record must be written in any case, because a
	// message without one is sent again and again.
	b, err := json.Marshal(r, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("write record of %s: %w", r.ID, err)
	}
	return b, nil
}

// shortReply is what is kept of a reply, in bytes, if a record is too large.
const shortReply = 40

// Shorten leaves out what matters least to a record that is too large for the
// broker; false if nothing is left that could be left out. Recipients, their
// states and all counts stay.
func (r *Record) Shorten() bool {
	if n := len(r.Attempts); n > 0 {
		r.Attempts = r.Attempts[n-min(n-1, 1):]
		return true
	}
	r.Subject, r.Tags = "", nil
	cut := false
	for i := range r.Recipients {
		x := &r.Recipients[i]
		cut = cut || len(x.Reply) > shortReply || x.QueueID != ""
		x.Reply, x.QueueID = mail.Cut(x.Reply, shortReply), ""
	}
	return cut
}

// Has reports whether any recipient is in that state.
func (r *Record) Has(s State) bool {
	for i := range r.Recipients {
		if r.Recipients[i].State == s {
			return true
		}
	}
	return false
}

// Delivered reports that every recipient is; false if none is known.
func (r *Record) Delivered() bool {
	for i := range r.Recipients {
		if r.Recipients[i].State != StateDelivered {
			return false
		}
	}
	return len(r.Recipients) > 0
}

// Final reports that nothing depends on the record, if it is the first of its key: it
// is of all recipients, all are delivered, there is nothing to forward and no dead
// letter to mark.
func (r *Record) Final() bool {
	return r.Recipient == All && r.Together == StateDelivered && r.DeadSeq == 0
}

// Find is the record of that recipient; nil if the key is not for it, or r is nil.
func (r *Record) Find(index int) *RecipientRecord {
	if r == nil {
		return nil
	}
	for i := range r.Recipients {
		if r.Recipients[i].Index == index {
			return &r.Recipients[i]
		}
	}
	return nil
}

// Key is the key that the record is of.
func (r *Record) Key() Key {
	return Key{Lane: r.Lane, ID: r.ID, Origin: r.Origin, Recipient: r.Recipient}
}

// Waits is why the recipient, which is still to be sent to, has to wait. A record
// has one event for all recipients, which may be that of another one.
func (r *Record) Waits(index int) Event {
	switch r.Event {
	case EventScheduled, EventRequeued, EventReplayed:
		return r.Event
	}
	if r.LastClass(index) == mail.Uncertain {
		return EventUncertain
	}
	return EventDeferred
}

// EventIn is the event of the recipient in its record, whose own event is that of the
// recipient that matters most. It is empty if nothing happened to this one yet.
func (x RecipientRecord) EventIn(r *Record) Event {
	switch {
	case r.Event == EventReplayed && x.State != StateDelivered, r.Event == EventDiscarded && x.State == StateDead:
		return r.Event
	case x.State == StateDelivered:
		return EventDelivered
	case x.State == StateDead:
		return EventOf(x.Reason)
	case x.State == StatePending && r.Event != EventRequeued:
		return ""
	}
	return r.Waits(x.Index)
}

// LastClass is the class of the recipient's last outcome; empty if the record has
// none.
func (r *Record) LastClass(index int) mail.Class { return LastOutcome(r.Attempts, index).Class }

// HungUpSince is the recipients at whom a relay hung up since before, an earlier form
// of the record; nil for since ever.
func (r *Record) HungUpSince(before *Record) (indexes []int) {
	for _, x := range r.Recipients {
		if was := before.Find(x.Index); x.HangUps > 0 && (was == nil || x.HangUps > was.HangUps) {
			indexes = append(indexes, x.Index)
		}
	}
	return indexes
}

// Uniform is the one state and reason of all recipients; false if they differ.
// Only uniform recipients stay together.
func (r *Record) Uniform() (State, mail.Reason, bool) {
	if len(r.Recipients) == 0 {
		return "", "", false
	}
	first := r.Recipients[0]
	for _, x := range r.Recipients {
		if x.State != first.State || x.Reason != first.Reason {
			return "", "", false
		}
	}
	return first.State, first.Reason, true
}

// Words are the reply as people read it: "550 5.1.1 no such user", or what went
// wrong if there was no reply.
func (x RecipientRecord) Words() string {
	words := strings.TrimSpace(x.Enhanced + " " + x.Reply)
	if x.Code > 0 {
		words = strings.TrimSpace(strconv.Itoa(x.Code) + " " + words)
	}
	return words
}

// WordsIn are the words of the recipient's reply in its record, or else of its last
// outcome, which decided nothing.
func (x RecipientRecord) WordsIn(r *Record) string {
	return cmp.Or(x.Words(), LastOutcome(r.Attempts, x.Index).Words())
}

// NewRecord begins the record of a copy's generation.
func NewRecord(c Copy, at time.Time) *Record {
	k := c.Key
	return &Record{
		V: RecordVersion, ID: k.ID, Origin: k.Origin, Lane: k.Lane, Recipient: k.Recipient, Generation: c.Generation,
		At: at.UTC(), Enqueued: c.Enqueued.UTC(), Attempts: slices.Clone(c.Log), Counted: c.Attempts,
		Replays: c.Replays, Replayed: c.Replayed, DeadSeq: c.DeadSeq,
	}
}

// Clone is a copy of the record that may be changed.
func (r *Record) Clone() *Record {
	c := *r
	c.Recipients, c.Attempts = slices.Clone(r.Recipients), slices.Clone(r.Attempts)
	return &c
}

// DeliveredTo reports that the recipient is delivered; false for a nil record.
func (r *Record) DeliveredTo(index int) bool {
	x := r.Find(index)
	return x != nil && x.State == StateDelivered
}

// SetPending gives all pending recipients that state.
func (r *Record) SetPending(s State, why mail.Reason) {
	for i := range r.Recipients {
		if r.Recipients[i].State == StatePending {
			r.Recipients[i].State, r.Recipients[i].Reason = s, why
		}
	}
}

// Conclude sets whether the recipients go on together, and names the event after
// the recipient that matters most to a person, unless it has one.
func (r *Record) Conclude() {
	if state, why, same := r.Uniform(); same {
		r.Together, r.Reason = state, why
	}
	if r.Event == "" {
		r.Event = eventOf(r)
	}
}

// eventOf is the event of the recipient that matters most to a person.
func eventOf(r *Record) Event {
	event := EventDelivered
	for _, x := range r.Recipients {
		switch {
		case x.State == StateDead:
			return EventOf(x.Reason)
		case x.State == StateScheduled && event != EventUncertain:
			event = r.Waits(x.Index)
		}
	}
	if r.Together == StateDead {
		return EventOf(r.Reason)
	}
	return event
}

// Shared stands for all recipients of a record that go on together.
func (r *Record) Shared() RecipientRecord {
	x := RecipientRecord{Reason: r.Reason}
	for _, y := range r.Recipients {
		if y.State == r.Together {
			x = y
		}
	}
	x.State = r.Together
	return x
}

// Next is the copy of that key one generation on, with its history.
func (r *Record) Next(k Key) Copy {
	next := Copy{
		Key: k, Generation: r.Generation + 1, Attempts: r.Counted, Enqueued: r.Enqueued,
		Log: r.Attempts, Replays: r.Replays, Replayed: r.Replayed,
	}
	if i, ok := k.Index(); ok {
		next.Log = LogFor(r.Attempts, i)
	}
	return next
}

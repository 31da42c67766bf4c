package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Event names what happened to a line.
type Event string

// The events.
const (
	EventScheduled Event = "scheduled"
	EventDeferred  Event = "deferred"
	EventDelayed   Event = "delayed"
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
	EventScheduled, EventDeferred, EventDelayed, EventDelivered, EventFailed, EventExpired,
	EventExhausted, EventUncertain, EventReplayed, EventDiscarded,
}

// Reason says why a letter is dead.
type Reason string

// The reasons.
const (
	ReasonFailed      Reason = "failed"
	ReasonExhausted   Reason = "exhausted"
	ReasonExpired     Reason = "expired"
	ReasonBadEnvelope Reason = "bad-envelope"
	ReasonTooLarge    Reason = "too-large"
	ReasonLoop        Reason = "loop"
	ReasonCrashLoop   Reason = "crash-loop"
	ReasonStranded    Reason = "stranded"
)

// Reasons lists them all.
var Reasons = []Reason{
	ReasonFailed, ReasonExhausted, ReasonExpired, ReasonBadEnvelope,
	ReasonTooLarge, ReasonLoop, ReasonCrashLoop, ReasonStranded,
}

// Event is what a death for that reason is called in the log.
func (r Reason) Event() Event {
	switch r {
	case ReasonExhausted:
		return EventExhausted
	case ReasonExpired:
		return EventExpired
	}
	return EventFailed
}

// State is where one recipient stands in a record.
type State string

const (
	// StateOpen: to be sent to, in the message at hand.
	StateOpen State = "open"
	// StateDelivered: accepted by a relay; never sent to again.
	StateDelivered State = "delivered"
	// StateLater: waits in a copy, one hop on.
	StateLater State = "later"
	// StateDead: lies in a dead letter, one hop on.
	StateDead State = "dead"
)

// RecordVersion is the version of [Record]'s shape.
const RecordVersion = 1

// Record is what is known of a line at one hop. The last record of a line counts.
type Record struct {
	V      int    `json:"v"`
	ID     string `json:"id"`
	Origin string `json:"origin"`
	Lane   Lane   `json:"lane"`
	Line   string `json:"line"`
	Hop    int    `json:"hop"`
	Event  Event  `json:"event"`
	// Reason is set where all that is left of the line is dead for the same reason.
	Reason     Reason            `json:"reason,omitempty"`
	At         time.Time         `json:"at"`
	Enqueued   time.Time         `json:"enqueued,omitzero"`
	From       string            `json:"from,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Size       int64             `json:"size,omitempty"`
	Tags       []string          `json:"tags,omitempty"`
	Recipients []RecipientRecord `json:"recipients"`
	// Attempts are the attempts so far, earlier hops included.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Counted is the number of attempts used up.
	Counted int `json:"counted,omitempty"`
	// Whole is the state that all recipients went on in, together, as one
	// message; empty where each goes its own way or some are open still. A later
	// addition to a recipient's state does not change it: what was carried on
	// together stays together.
	Whole State `json:"whole,omitempty"`
	// Due is when the copy is to be tried.
	Due time.Time `json:"due,omitzero"`
	// Replays counts the replays of the line, Replayed is the time of the last one.
	Replays  int       `json:"replays,omitempty"`
	Replayed time.Time `json:"replayed,omitzero"`
	// DeadSeq is the sequence of the dead letter that a replayed line came from.
	DeadSeq uint64 `json:"dead_seq,omitempty"`
	// Error is the sentence of the dead letter, where no reply says it.
	Error string `json:"error,omitempty"`
	// Delivery counts the deliveries of the message by the broker up to this
	// record, where some of its recipients are open still: a crash loop is one of
	// deliveries without a record.
	Delivery int `json:"delivery,omitempty"`
}

// RecipientRecord is where a recipient stands.
type RecipientRecord struct {
	Address  string `json:"address"`
	Index    int    `json:"index"`
	State    State  `json:"state"`
	Reason   Reason `json:"reason,omitempty"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Reply    string `json:"reply,omitempty"`
	Relay    string `json:"relay,omitempty"`
	QueueID  string `json:"queue_id,omitempty"`
}

// Attempt is one attempt at a line: a transaction, or what stood in its way.
type Attempt struct {
	// N is the number of attempts used up, this one included.
	N       int       `json:"n"`
	Counted bool      `json:"counted"`
	At      time.Time `json:"at"`
	Relay   string    `json:"relay,omitempty"`
	Session string    `json:"session,omitempty"`
	// Use counts the transactions of the session, from 1.
	Use int `json:"use,omitempty"`
	// Milliseconds.
	ConnectMS int64 `json:"connect_ms,omitempty"`
	DataMS    int64 `json:"data_ms,omitempty"`
	DotMS     int64 `json:"dot_ms,omitempty"`
	// Outcomes are grouped: recipients that got the same reply share one.
	Outcomes []GroupedOutcome `json:"outcomes"`
}

// GroupedOutcome is one reply and the recipients that got it.
type GroupedOutcome struct {
	Recipients Indexes `json:"recipients"`
	Class      Class   `json:"class"`
	Stage      Stage   `json:"stage,omitempty"`
	Code       int     `json:"code,omitempty"`
	Enhanced   string  `json:"enhanced,omitempty"`
	Reply      string  `json:"reply,omitempty"`
	QueueID    string  `json:"queue_id,omitempty"`
}

// NewAttempt is the log's entry for a transaction with those recipients.
// n is the number of attempts used up, this one included.
func NewAttempt(n int, counted bool, to []Recipient, tx Transaction) Attempt {
	a := Attempt{
		N: n, Counted: counted, At: tx.At.UTC(), Relay: tx.Relay, Session: tx.Session, Use: tx.Use,
		ConnectMS: tx.Connect.Milliseconds(), DataMS: tx.Data.Milliseconds(), DotMS: tx.Dot.Milliseconds(),
	}
	place := make(map[GroupedOutcomeKey]int)
	for i, o := range tx.Outcomes {
		k := GroupedOutcomeKey{o.Class, o.Stage, o.Code, o.Enhanced, Sentence(o.Reply, MaxReply)}
		at, ok := place[k]
		if !ok {
			at = len(a.Outcomes)
			place[k] = at
			a.Outcomes = append(a.Outcomes, GroupedOutcome{
				Class: o.Class, Stage: o.Stage, Code: o.Code, Enhanced: o.Enhanced, Reply: k.Reply, QueueID: o.QueueID,
			})
		}
		a.Outcomes[at].Recipients = append(a.Outcomes[at].Recipients, to[i].Index)
	}
	return a
}

// GroupedOutcomeKey is what outcomes have to share to be grouped.
type GroupedOutcomeKey struct {
	Class    Class
	Stage    Stage
	Code     int
	Enhanced string
	Reply    string
}

// DecodeRecord reads a record. Fields of later versions are passed over.
func DecodeRecord(b []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	return &r, nil
}

// Encode writes the record as JSON.
func (r *Record) Encode() ([]byte, error) {
	// Whatever slipped in, a record has to be written: a mail without one is sent
	// again and again.
	b, err := json.Marshal(r, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("write record of %s: %w", r.ID, err)
	}
	return b, nil
}

// shortReply is what is left of a reply, in bytes, where a record is too large.
const shortReply = 40

// Shorten leaves out what matters least to a record that is too large for the
// broker; false where nothing is left that could be. Recipients, their states
// and the count of attempts stay.
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
		x.Reply, x.QueueID = Cut(x.Reply, shortReply), ""
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

// Delivered reports that every recipient is; false where none is known.
func (r *Record) Delivered() bool {
	for i := range r.Recipients {
		if r.Recipients[i].State != StateDelivered {
			return false
		}
	}
	return len(r.Recipients) > 0
}

// Find is the record of that recipient, nil where the line is not for it.
func (r *Record) Find(index int) *RecipientRecord {
	for i := range r.Recipients {
		if r.Recipients[i].Index == index {
			return &r.Recipients[i]
		}
	}
	return nil
}

// LineOf is the line that the record is of.
func (r *Record) LineOf() Line {
	return Line{Lane: r.Lane, ID: r.ID, Origin: r.Origin, Rcpt: r.Line}
}

// Waits is why the mail of that recipient, which goes on, is not gone yet. A
// record has one event for all of them, and another's fate is not this one's.
func (r *Record) Waits(index int) Event {
	switch r.Event {
	case EventScheduled, EventDelayed, EventReplayed:
		return r.Event
	}
	if r.LastClass(index) == Uncertain {
		return EventUncertain
	}
	return EventDeferred
}

// LastClass is the class of the recipient's last outcome, empty where the record
// holds none.
func (r *Record) LastClass(index int) (class Class) {
	for _, a := range r.Attempts {
		for _, o := range a.Outcomes {
			if slices.Contains(o.Recipients, index) {
				class = o.Class
			}
		}
	}
	return class
}

// Uniform reports the one state and reason of all recipients; only then they
// stay one message.
func (r *Record) Uniform() (State, Reason, bool) {
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

// LogFor is the part of a log that concerns one recipient.
func LogFor(log []Attempt, index int) []Attempt {
	var own []Attempt
	for _, a := range log {
		outcomes := a.Outcomes
		a.Outcomes = nil
		for _, o := range outcomes {
			if slices.Contains(o.Recipients, index) {
				o.Recipients = Indexes{index}
				a.Outcomes = append(a.Outcomes, o)
			}
		}
		if len(a.Outcomes) > 0 || len(outcomes) == 0 {
			own = append(own, a)
		}
	}
	return own
}

// Cut shortens s to at most n bytes at the end of a character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// Words are the reply as people read it: "550 5.1.1 no such user", or what
// went wrong where there was no reply.
func (x RecipientRecord) Words() string {
	words := strings.TrimSpace(x.Enhanced + " " + x.Reply)
	if x.Code > 0 {
		words = strings.TrimSpace(strconv.Itoa(x.Code) + " " + words)
	}
	return words
}

package wire

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/mail"
)

// MaxLog is the size that the log of attempts may have in a copy's headers, in
// bytes. With the producer's headers and ours it must stay below the 64 KiB that
// JetStream allows for all headers.
const MaxLog = 44 << 10

// Attempt is one attempt at a key: a transaction, or why there was none.
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

// Is reports that b is the same transaction.
func (a Attempt) Is(b Attempt) bool {
	return a.Session == b.Session && a.Use == b.Use && a.At.Equal(b.At)
}

// GroupedOutcome is one reply and the recipients that got it.
type GroupedOutcome struct {
	Recipients Indexes    `json:"recipients"`
	Class      mail.Class `json:"class"`
	Stage      mail.Stage `json:"stage,omitempty"`
	Code       int        `json:"code,omitempty"`
	Enhanced   string     `json:"enhanced,omitempty"`
	Reply      string     `json:"reply,omitempty"`
	QueueID    string     `json:"queue_id,omitempty"`
}

// Words are the outcome as people read it, as those of a [RecipientRecord].
func (o GroupedOutcome) Words() string {
	return RecipientRecord{Code: o.Code, Enhanced: o.Enhanced, Reply: o.Reply}.Words()
}

// NewAttempt is the entry in the log for a transaction with those recipients.
// n is the number of attempts used up, this one included.
func NewAttempt(n int, counted bool, to []mail.Recipient, tx mail.Transaction) Attempt {
	a := Attempt{
		N: n, Counted: counted, At: tx.At.UTC(), Relay: tx.Relay, Session: tx.Session, Use: tx.Use,
		ConnectMS: tx.Connect.Milliseconds(), DataMS: tx.Data.Milliseconds(), DotMS: tx.Dot.Milliseconds(),
	}
	entries := make(map[GroupedOutcomeKey]int)
	for i, o := range tx.Outcomes {
		k := GroupedOutcomeKey{o.Class, o.Stage, o.Code, o.Enhanced, mail.Sentence(o.Reply, mail.MaxReply)}
		at, ok := entries[k]
		if !ok {
			at = len(a.Outcomes)
			entries[k] = at
			a.Outcomes = append(a.Outcomes, GroupedOutcome{
				Class: o.Class, Stage: o.Stage, Code: o.Code, Enhanced: o.Enhanced, Reply: k.Reply, QueueID: o.QueueID,
			})
		}
		a.Outcomes[at].Recipients = append(a.Outcomes[at].Recipients, to[i].Index)
	}
	return a
}

// AppendAttempt adds an attempt to a log. Of those in a row that were not counted and ended
// alike, as when a message is put off again and again for days, it keeps the first and the
// last: each record of the message and each copy has the whole log.
func AppendAttempt(log []Attempt, a Attempt) []Attempt {
	if n := len(log); n >= 2 && a.putOffLike(log[n-1]) && a.putOffLike(log[n-2]) {
		log = log[: n-1 : n-1]
	}
	return append(log, a)
}

// PutOffAgain reports that the last attempt was not counted and ended as the one before.
func PutOffAgain(log []Attempt) bool {
	n := len(log)
	return n >= 2 && log[n-1].putOffLike(log[n-2])
}

// putOffLike reports that neither attempt was counted, and that they ended alike.
func (a Attempt) putOffLike(b Attempt) bool {
	return !a.Counted && !b.Counted && a.Relay == b.Relay && slices.EqualFunc(a.Outcomes, b.Outcomes, func(x, y GroupedOutcome) bool {
		return x.Class == y.Class && x.Stage == y.Stage && x.Code == y.Code && x.Enhanced == y.Enhanced && x.Reply == y.Reply && slices.Equal(x.Recipients, y.Recipients)
	})
}

// GroupedOutcomeKey is what outcomes share if they are grouped.
type GroupedOutcomeKey struct {
	Class    mail.Class
	Stage    mail.Stage
	Code     int
	Enhanced string
	Reply    string
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

// LastOutcome is the recipient's last outcome in a log; the zero one if there is none.
func LastOutcome(log []Attempt, index int) (last GroupedOutcome) {
	for _, a := range log {
		for _, o := range a.Outcomes {
			if slices.Contains(o.Recipients, index) {
				last = o
			}
		}
	}
	return last
}

// BlamesRelay reports that in the last attempt of a log the relay said or did something for
// which the message was requeued. It did not if the worker had to stop, if no session was
// free, or if the message waited for a relay that was down: then there is neither a session
// nor a code.
func BlamesRelay(log []Attempt) bool {
	if len(log) == 0 {
		return false
	}
	a := log[len(log)-1]
	return slices.ContainsFunc(a.Outcomes, func(o GroupedOutcome) bool {
		return o.Class == mail.Requeued && o.Stage != mail.StageLocal && (a.Session != "" || o.Code > 0)
	})
}

// EncodeLog writes the attempts as JSON in at most limit bytes. What does not
// fit is left out from the second oldest on: the first and the last attempts say
// most, and the numbers show the gap.
func EncodeLog(log []Attempt, limit int) []byte {
	b := marshalLog(log)
	for len(b) > limit && len(log) > 2 {
		// Attempts have about the same length: drop several at once.
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
		// Only a text that is not UTF-8 can fail, and Sentence has made them UTF-8.
		return []byte("[]")
	}
	return b
}

package queue

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// Fate is what became of one recipient, and what comes next.
type Fate struct {
	wire.RecipientRecord
	// Bcc: the envelope is at hand and names the recipient as Bcc alone.
	Bcc bool `json:"bcc,omitempty"`
	// Known is when that became known.
	Known time.Time `json:"known,omitzero"`
	// Due is when the next attempt is.
	Due time.Time `json:"due,omitzero"`
	// Is says all of it in a sentence.
	Is string `json:"is"`
}

func (e *evidence) fate(to mail.Recipient, now time.Time, lane *Lane) Fate {
	rec, x := e.last(to.Index)
	m := e.message(to.Index)
	f := Fate{RecipientRecord: wire.RecipientRecord{Address: to.Address, Index: to.Index}}
	if rec == nil {
		f.Is = "waits: " + m.next(now, lane)
		return f
	}
	f.RecipientRecord, f.Known = *x, rec.At
	said := Clause(x.Words())
	switch x.State {
	case wire.StateDelivered:
		f.Is = "delivered: accepted by the relay " + x.Relay + " at " + Clock(e.accepted(to.Index, rec.At)) + said
	case wire.StateDead:
		f.Is = e.death(rec, x, now)
	case wire.StatePending:
		f.Is = "pending: the next transaction of this message is for this recipient; " + m.next(now, lane)
	case wire.StateScheduled:
		f.Due = rec.Due
		f.Is = string(rec.Waits(to.Index)) + said + "; " + e.later(rec, to.Index, now, lane)
	}
	return f
}

// last is the record that counts for a recipient: one that calls it delivered, which
// is final, or else that of the highest generation.
func (e *evidence) last(index int) (rec *wire.Record, x *wire.RecipientRecord) {
	for _, r := range e.records {
		y := r.Find(index)
		if y == nil || x != nil && x.State == wire.StateDelivered {
			continue
		}
		if x == nil || y.State == wire.StateDelivered || r.Generation >= rec.Generation {
			rec, x = r, y
		}
	}
	return rec, x
}

// message is the message in the queue that is for the recipient; nil for none.
func (e *evidence) message(index int) *Message {
	for _, m := range e.live {
		if isFor(m.Key, index) {
			return m
		}
	}
	return nil
}

// deadLetter is the dead letter of the recipient; nil for none.
func (e *evidence) deadLetter(index int) *deadletter.Found {
	for _, l := range e.dead {
		if isFor(l.Key, index) {
			return l
		}
	}
	return nil
}

func isFor(k wire.Key, index int) bool {
	i, ok := k.Index()
	return k.IsAll() || ok && i == index
}

// accepted is when the relay accepted the message for the recipient; at if no attempt
// says it.
func (e *evidence) accepted(index int, at time.Time) time.Time {
	for _, a := range e.attempts() {
		for _, o := range a.Outcomes {
			if o.Class == mail.Delivered && slices.Contains(o.Recipients, index) {
				at = a.At.Add(time.Duration(a.DataMS+a.DotMS) * time.Millisecond)
			}
		}
	}
	return at
}

func (e *evidence) death(rec *wire.Record, x *wire.RecipientRecord, now time.Time) string {
	if rec.Event == wire.EventDiscarded {
		return "discarded by an operator at " + Distant(now, rec.At) + ": it will not be sent"
	}
	is := fmt.Sprintf("dead, %s%s", why(x.Reason, rec.LastClass(x.Index)), Clause(cmp.Or(x.Words(), rec.Error)))
	if e.deadLetter(x.Index) == nil {
		return is + "; its dead letter is missing: it is still being written, the message was delivered after all, or it is more than 90 days old"
	}
	return is + "; " + Remedy("postrider", x.Reason, rec.ID)
}

// why is the reason in words; those of the last outcome follow.
func why(r mail.Reason, last mail.Class) string {
	switch r {
	case mail.ReasonFailed:
		return "refused for good"
	case mail.ReasonExhausted:
		if last == mail.Uncertain {
			return "exhausted: no attempt is left, and the last one is uncertain"
		}
		return "exhausted: every attempt that it was allowed was deferred, the last one"
	case mail.ReasonExpired:
		return "expired: its time was over before the next attempt"
	}
	return string(r)
}

// later says what comes next for a recipient whose record says that it was scheduled.
func (e *evidence) later(rec *wire.Record, index int, now time.Time, lane *Lane) string {
	m := e.message(index)
	switch {
	case m != nil && m.Generation > rec.Generation:
		return m.next(now, lane)
	case rec.Event == wire.EventReplayed && e.deadLetter(index) != nil:
		return "the replay was interrupted; to continue it: postrider dead replay " + mail.Quote(rec.ID)
	}
	return "its copy is being made for " + Distant(now, rec.Due)
}

// next says where the message is and what comes next.
func (m *Message) next(now time.Time, lane *Lane) string {
	if m == nil {
		return "it is being settled at this moment: look again"
	}
	switch m.State {
	case Scheduled:
		return "next attempt at " + Distant(now, m.At)
	case InFlight:
		return "taken by a worker: in flight, or requeued and waiting for its next try" + cmp.Or(m.left(now, lane), m.pace(now, lane))
	case Due:
		return "due, and not taken yet" + m.pace(now, lane)
	}
	return fmt.Sprintf("no worker has taken it yet, %s before it in the lane%s", Counted(m.Before, "message"), m.pace(now, lane))
}

// left says when a message that was taken before the workers of today started comes again.
func (m *Message) left(now time.Time, lane *Lane) string {
	if lane == nil || !m.Stored.Before(lane.workers.since(lane.Lane)) {
		return ""
	}
	if left := lane.workers.left(lane.Lane, now); left != "" {
		return "; " + left
	}
	return ""
}

// pace says how fast the lane moves, or why it does not.
func (m *Message) pace(now time.Time, lane *Lane) string {
	if lane == nil {
		return ""
	}
	absence, outage := lane.absence(), lane.workers.outage(lane.Lane)
	switch {
	case absence != "":
		return "; no worker takes mail of this lane: " + absence
	case outage != nil:
		return fmt.Sprintf("; relay %s %s; %s, and no attempt is counted meanwhile", outage.Name, outage.is(), outage.next(now))
	case lane.Rate > 0:
		return fmt.Sprintf("; the lane settles %.1f messages a second", lane.Rate)
	case lane.Settled > 0, now.Sub(m.Stored) < 5*time.Second, now.Sub(lane.workers.since(lane.Lane)) < stuckAfter:
		return ""
	case len(lane.workers.of(lane.Lane)) > 0:
		return "; nothing of the lane was settled within the last minute, though its workers run and their relay is up. The log of the workers says more"
	}
	return "; nothing of the lane was settled within the last minute: no worker runs, or its relay is down or defers everything (no attempt is counted for that). The log of the workers says which"
}

// undecoded says what became of a message whose recipients cannot be read.
func (e *evidence) undecoded(now time.Time, lane *Lane) string {
	for _, r := range slices.Backward(e.records) {
		switch {
		case r.Event == wire.EventDiscarded:
			return "discarded by an operator: it will not be sent"
		case r.Event == wire.EventReplayed:
			continue
		case len(e.dead) > 0:
			return fmt.Sprintf("dead, %s: %s; %s", r.Reason, r.Error, Remedy("postrider", r.Reason, r.ID))
		}
		return fmt.Sprintf("dead, %s: %s", r.Reason, r.Error)
	}
	for _, m := range e.live {
		return fmt.Sprintf("its envelope cannot be read (%v): a worker will dead-letter it; %s", m.Bad, m.next(now, lane))
	}
	return ""
}

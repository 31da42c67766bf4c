package queue

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/wire"
)

// Entry is one line of a message's history: an attempt or a record.
type Entry struct {
	Attempt *wire.Attempt
	Record  *wire.Record
}

// History is the attempts and records in their order: each attempt before the first
// record that has it. Their times do not give the order: an attempt's is by the
// worker's clock, a record's by the broker's.
func (t *Trace) History() []Entry {
	var all []Entry
	left := slices.Clone(t.Attempts)
	for _, r := range t.Events {
		left = slices.DeleteFunc(left, func(a wire.Attempt) bool {
			known := slices.ContainsFunc(r.Attempts, func(x wire.Attempt) bool { return sameAttempt(a, x) })
			if known {
				all = append(all, Entry{Attempt: &a})
			}
			return known
		})
		all = append(all, Entry{Record: r})
	}
	for _, a := range left {
		all = append(all, Entry{Attempt: &a})
	}
	return all
}

// At is the time of the attempt or of the record.
func (e Entry) At() time.Time {
	if e.Attempt != nil {
		return e.Attempt.At
	}
	return e.Record.At
}

// Words are the entry as a sentence, without its time: of an attempt, which relay and
// how long it took; of a record, what it says that no attempt says, empty if that is
// nothing. [OutcomeWords] has the outcomes of an attempt.
func (e Entry) Words() string {
	if e.Attempt != nil {
		return attemptWords(e.Attempt)
	}
	return decision(e.Record)
}

func attemptWords(a *wire.Attempt) string {
	said := []string{"nothing was sent"}
	if a.Session != "" {
		said = []string{"relay " + a.Relay, "session " + a.Session}
	}
	took := false
	for _, x := range []struct {
		name string
		ms   int64
	}{{"connect", a.ConnectMS}, {"data", a.DataMS}, {"reply", a.DotMS}} {
		if x.ms > 0 {
			took = true
			said = append(said, fmt.Sprintf("%s %d ms", x.name, x.ms))
		}
	}
	if a.Session != "" && !took {
		said = append(said, "under 1 ms")
	}
	name := fmt.Sprintf("attempt %d", a.N)
	if !a.Counted {
		name = "attempt, not counted"
	}
	return name + ": " + strings.Join(said, ", ")
}

// OutcomeWords are an outcome as a sentence that begins with its class: "failed at
// RCPT: 550 5.1.1 no such user". Without a reply it has what was wrong.
func OutcomeWords(o wire.GroupedOutcome) string {
	at := ""
	if o.Stage != "" {
		at = " at " + strings.ToUpper(string(o.Stage))
	}
	return string(o.Class) + at + Clause(o.Words())
}

// decision is what a record says that no attempt says: what was decided about the
// recipients, and what comes next.
func decision(r *wire.Record) string {
	whose := ""
	if r.Recipient != wire.All && len(r.Recipients) > 0 {
		whose = " for " + r.Recipients[0].Address
	}
	switch r.Event {
	case wire.EventScheduled:
		return "scheduled for " + Clock(r.Due) + ", its send_at"
	case wire.EventReplayed:
		return fmt.Sprintf("replay %d by an operator%s: a new budget of attempts", r.Replays, whose)
	case wire.EventDiscarded:
		return "discarded by an operator" + whose
	case wire.EventRequeued:
		said := "requeued" + whose + ", because the relay or the worker was at fault: no attempt is counted"
		if r.Has(wire.StatePending) { // it has no time: the broker delivers the message again
			return said
		}
		return said + ", next attempt at " + Clock(r.Due)
	case wire.EventDelivered:
		return ""
	}
	switch {
	case len(r.Recipients) == 0:
		return fmt.Sprintf("dead-lettered undecoded, %s: %s", r.Reason, r.Error)
	case r.Has(wire.StatePending):
		return "more transactions of this message follow, for the recipients still pending"
	case r.Has(wire.StateDead) && r.Has(wire.StateScheduled):
		return fmt.Sprintf("%s for some, who are dead-lettered; deferred for others, next attempt at %s", r.Event, Clock(r.Due))
	case r.Has(wire.StateDead):
		return fmt.Sprintf("%s%s: dead-lettered%s", r.Event, whose, Clause(r.Error))
	}
	return fmt.Sprintf("%s%s, next attempt at %s", r.Event, whose, Clock(r.Due))
}

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// view is a message's way as it is shown, and as JSON.
type view struct {
	ID         string         `json:"id"`
	Origin     string         `json:"origin"`
	Lane       wire.Lane      `json:"lane"`
	Enqueued   time.Time      `json:"enqueued,omitzero"`
	From       string         `json:"from"`
	Subject    string         `json:"subject,omitempty"`
	Size       int64          `json:"size,omitempty"`
	Tags       []string       `json:"tags,omitempty"`
	Attempts   []wire.Attempt `json:"attempts"`
	Events     []*wire.Record `json:"events"`
	Recipients []fate         `json:"recipients"`
	// Next says what comes next for a message whose recipients are not known.
	Next string `json:"next,omitempty"`
}

// fate is where one recipient stands.
type fate struct {
	wire.RecipientRecord
	// Known is when that became known.
	Known time.Time `json:"known,omitzero"`
	// Due is when the next attempt is.
	Due time.Time `json:"due,omitzero"`
	// Is says it in a sentence, what comes next included.
	Is string `json:"is"`
}

func (w *way) lane() wire.Lane {
	switch {
	case len(w.records) > 0:
		return w.records[0].Lane
	case len(w.live) > 0:
		return w.live[0].Key.Lane
	}
	return w.dead[0].Key.Lane
}

// view puts together what is known. lane is how the lane stands, where mail of
// it waits.
func (w *way) view(now time.Time, lane *queue.Lane) *view {
	w.complete()
	v := &view{Origin: w.origin, Lane: w.lane(), Attempts: w.attempts(), Events: w.records}
	v.head(w)
	for _, r := range w.recipients() {
		v.Recipients = append(v.Recipients, w.fate(r, now, lane))
	}
	if len(v.Recipients) == 0 {
		v.Next = w.unread(lane)
	}
	return v
}

// complete makes a record of what a dead letter or copy carries, where records and
// log are older than they are kept.
func (w *way) complete() {
	if len(w.records) > 0 {
		return
	}
	for _, l := range w.dead {
		r := &wire.Record{ID: l.Key.ID, Origin: w.origin, Lane: l.Key.Lane, Recipient: l.Key.Recipient, Generation: l.Generation - 1, Event: wire.EventOf(l.Reason),
			At: l.At, Enqueued: l.Enqueued, Size: int64(len(l.Body)), Attempts: l.Log, Error: l.Error}
		for _, x := range l.Recipients {
			r.Recipients = append(r.Recipients, wire.RecipientRecord{Address: x.Address, Index: x.Index, State: wire.StateDead, Reason: l.Reason})
		}
		w.records = append(w.records, r)
	}
}

func (v *view) head(w *way) {
	for _, r := range w.records {
		v.ID, v.Enqueued = r.ID, r.Enqueued
		v.From, v.Subject, v.Tags = orElse(v.From, r.From), orElse(v.Subject, r.Subject), r.Tags
		v.Size = max(v.Size, r.Size)
	}
	for _, m := range w.live {
		v.ID, v.Enqueued, v.Size = m.Key.ID, m.Enqueued, max(v.Size, int64(m.Size))
		if e := m.Envelope; e != nil {
			v.From, v.Subject, v.Tags = e.ReversePath(), e.Subject, e.Tags
		}
	}
}

// attempts are those of all records, each once. A single recipient's record
// has of an attempt only its own outcome.
func (w *way) attempts() []wire.Attempt {
	var all []wire.Attempt
	add := func(log []wire.Attempt) {
		for _, a := range log {
			i := slices.IndexFunc(all, func(b wire.Attempt) bool { return sameAttempt(a, b) })
			if i < 0 {
				all = append(all, a)
				continue
			}
			for _, o := range a.Outcomes {
				if !covers(all[i].Outcomes, o.Recipients) {
					all[i].Outcomes = append(slices.Clone(all[i].Outcomes), o)
				}
			}
		}
	}
	for _, r := range w.records {
		add(r.Attempts)
	}
	for _, m := range w.live {
		add(m.Log)
	}
	slices.SortStableFunc(all, func(a, b wire.Attempt) int { return a.At.Compare(b.At) })
	return all
}

// sameAttempt: no session carries two at one moment.
func sameAttempt(a, b wire.Attempt) bool { return a.At.Equal(b.At) && a.Session == b.Session }

func covers(outcomes []wire.GroupedOutcome, recipients wire.Indexes) bool {
	for _, x := range recipients {
		if !slices.ContainsFunc(outcomes, func(o wire.GroupedOutcome) bool { return slices.Contains(o.Recipients, x) }) {
			return false
		}
	}
	return true
}

// recipients are those that any record or the envelope names, in order.
func (w *way) recipients() []mail.Recipient {
	var all []mail.Recipient
	add := func(index int, address string) {
		if !slices.ContainsFunc(all, func(r mail.Recipient) bool { return r.Index == index }) {
			all = append(all, mail.Recipient{Index: index, Address: address})
		}
	}
	for _, r := range w.records {
		for _, x := range r.Recipients {
			add(x.Index, x.Address)
		}
	}
	for _, m := range w.live {
		if m.Envelope == nil {
			continue
		}
		for _, x := range m.Key.RecipientsIn(m.Envelope) {
			add(x.Index, x.Address)
		}
	}
	slices.SortFunc(all, func(a, b mail.Recipient) int { return a.Index - b.Index })
	return all
}

// last is the record that counts for a recipient: one that calls it delivered,
// which is for good, else that of the highest hop.
func (w *way) last(index int) (rec *wire.Record, x *wire.RecipientRecord) {
	for _, r := range w.records {
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

// message is what lies in the queue for a recipient.
func (w *way) message(index int) *queue.Message {
	for _, m := range w.live {
		if i, ok := m.Key.Index(); m.Key.IsAll() || ok && i == index {
			return m
		}
	}
	return nil
}

func (w *way) deadLetter(index int) *deadletter.Found {
	for _, l := range w.dead {
		if i, ok := l.Key.Index(); l.Key.IsAll() || ok && i == index {
			return l
		}
	}
	return nil
}

func (w *way) fate(to mail.Recipient, now time.Time, lane *queue.Lane) fate {
	rec, x := w.last(to.Index)
	m := w.message(to.Index)
	f := fate{RecipientRecord: wire.RecipientRecord{Address: to.Address, Index: to.Index}}
	if rec == nil {
		f.Is = "waits: " + inQueue(m, now, lane)
		return f
	}
	f.RecipientRecord, f.Known = *x, rec.At
	said := sentence(x.Words())
	switch x.State {
	case wire.StateDelivered:
		f.Is = "delivered: accepted by the relay " + x.Relay + " at " + clock(w.when(to.Index, rec.At)) + said
	case wire.StateDead:
		f.Is = w.death(rec, x, now)
	case wire.StatePending:
		f.Is = "open: its turn comes in this message's next transaction; " + inQueue(m, now, lane)
	case wire.StateScheduled:
		f.Due = rec.Due
		f.Is = string(rec.Waits(to.Index)) + said + "; " + w.later(rec, to.Index, m, now, lane)
	}
	return f
}

// when the recipient was accepted.
func (w *way) when(index int, at time.Time) time.Time {
	for _, a := range w.attempts() {
		for _, o := range a.Outcomes {
			if o.Class == mail.Delivered && slices.Contains(o.Recipients, index) {
				at = a.At.Add(time.Duration(a.DataMS+a.DotMS) * time.Millisecond)
			}
		}
	}
	return at
}

func (w *way) death(rec *wire.Record, x *wire.RecipientRecord, now time.Time) string {
	if rec.Event == wire.EventDiscarded {
		return "discarded by an operator at " + from(now, rec.At) + ": nobody will send it"
	}
	is := fmt.Sprintf("dead, %s%s", why(x.Reason, rec.LastClass(x.Index)), orElse(sentence(x.Words()), sentence(rec.Error)))
	if w.deadLetter(x.Index) == nil {
		return is + "; its dead letter is not there: it is being buried, was delivered after all, or is older than 90 days"
	}
	return is + "; send it again: postrider dead replay " + quote(rec.ID)
}

// why is a reason in words, before those of the last outcome.
func why(r mail.Reason, last mail.Class) string {
	switch r {
	case mail.ReasonFailed:
		return "refused for good"
	case mail.ReasonExhausted:
		if last == mail.Uncertain {
			return "exhausted: no attempt is left, and the last one is uncertain"
		}
		return "exhausted: every attempt it was allowed was deferred, the last one"
	case mail.ReasonExpired:
		return "expired: no attempt was left before its time was over"
	}
	return string(r)
}

func (w *way) later(rec *wire.Record, index int, m *queue.Message, now time.Time, lane *queue.Lane) string {
	switch {
	case m != nil && m.Generation > rec.Generation:
		return inQueue(m, now, lane)
	case rec.Event == wire.EventReplayed && w.deadLetter(index) != nil:
		return "the replay was cut short: postrider dead replay " + quote(rec.ID) + " goes on with it"
	}
	return "its copy is being made for " + from(now, rec.Due)
}

// inQueue says where a message lies and what comes next.
func inQueue(m *queue.Message, now time.Time, lane *queue.Lane) string {
	if m == nil {
		return "it is being settled at this moment, look again"
	}
	switch m.State {
	case queue.Scheduled:
		return "next attempt at " + from(now, m.At)
	case queue.Taken:
		return "taken by a worker: in flight now, or handed back for a moment because the relay or the worker was at fault" + pace(m, now, lane)
	case queue.Due:
		return "due, and not taken yet" + pace(m, now, lane)
	}
	return fmt.Sprintf("no worker has taken it yet, %s before it in the lane%s", mails(m.Before), pace(m, now, lane))
}

// pace says how the lane moves.
func pace(m *queue.Message, now time.Time, lane *queue.Lane) string {
	switch {
	case lane == nil:
		return ""
	case lane.Rate > 0:
		return fmt.Sprintf("; the lane settles %.1f messages a second", lane.Rate)
	case now.Sub(m.Stored) < 5*time.Second:
		return ""
	}
	return "; nothing of the lane was settled within the last minute: no worker runs, or its relay is down or holds mail up (no attempt is counted for that). The log of the workers says which"
}

// unread is for a message whose recipients cannot be read.
func (w *way) unread(lane *queue.Lane) string {
	for _, r := range slices.Backward(w.records) {
		switch {
		case r.Event == wire.EventDiscarded:
			return "discarded by an operator: nobody will send it"
		case r.Event == wire.EventReplayed:
			continue
		case len(w.dead) > 0:
			id := quote(r.ID)
			return fmt.Sprintf("dead, %s: %s; its envelope as it was published: postrider dead show %s --body; mend and publish it anew, then: postrider dead discard %s", r.Reason, r.Error, id, id)
		}
		return fmt.Sprintf("dead, %s: %s", r.Reason, r.Error)
	}
	for _, m := range w.live {
		return fmt.Sprintf("its envelope cannot be read (%v): a worker will bury it; %s", m.Bad, inQueue(m, m.Stored, lane))
	}
	return ""
}

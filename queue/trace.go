package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// Trace is the way of one message: its envelope in short, what happened, and the
// state of each recipient.
type Trace struct {
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
	Recipients []Fate         `json:"recipients"`
	// Next says what comes next for a message whose recipients are not known.
	Next string `json:"next,omitempty"`
}

// Address is that of the recipient with the index.
func (t *Trace) Address(index int) string {
	for _, f := range t.Recipients {
		if f.Index == index {
			return f.Address
		}
	}
	return nameless(index)
}

// SharedFate is what became of recipients of whom the same is said.
type SharedFate struct {
	// Is says it in a sentence.
	Is        string
	Addresses []string
}

// Fates groups the recipients of whom the same is said, in their order.
func (t *Trace) Fates() []SharedFate {
	var all []SharedFate
	for _, f := range t.Recipients {
		i := slices.IndexFunc(all, func(g SharedFate) bool { return g.Is == f.Is })
		if i < 0 {
			i = len(all)
			all = append(all, SharedFate{Is: f.Is})
		}
		address := f.Address
		if f.Bcc {
			address += " (Bcc)"
		}
		all[i].Addresses = append(all[i].Addresses, address)
	}
	return all
}

// evidence is everything that is known of one message.
type evidence struct {
	origin  string
	records []*wire.Record
	live    []*Message
	dead    []*deadletter.Found
}

// trace puts together what is known. lane is the state of the message's lane, if
// mail of it waits.
func (e *evidence) trace(now time.Time, lane *Lane) *Trace {
	e.complete()
	t := &Trace{Origin: e.origin, Lane: e.lane(), Attempts: e.attempts(), Events: e.records}
	e.head(t)
	blind := e.bcc()
	for _, r := range e.recipients() {
		f := e.fate(r, now, lane)
		f.Bcc = slices.Contains(blind, f.Address)
		t.Recipients = append(t.Recipients, f)
	}
	if len(t.Recipients) == 0 {
		t.Next = e.undecoded(now, lane)
	}
	return t
}

// complete makes a record of what a dead letter has, if records and log entries are
// gone because of their age. It brings the records into their order.
func (e *evidence) complete() {
	slices.SortStableFunc(e.records, func(a, b *wire.Record) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Generation, b.Generation))
	})
	if len(e.records) > 0 {
		return
	}
	for _, l := range e.dead {
		r := &wire.Record{
			ID: l.Key.ID, Origin: e.origin, Lane: l.Key.Lane, Recipient: l.Key.Recipient, Generation: l.Generation - 1, Event: wire.EventOf(l.Reason),
			At: l.At, Enqueued: l.Enqueued, Size: int64(len(l.Body)), Attempts: l.Log, Error: l.Error,
		}
		for _, x := range l.Recipients {
			r.Recipients = append(r.Recipients, wire.RecipientRecord{Address: x.Address, Index: x.Index, State: wire.StateDead, Reason: l.Reason})
		}
		e.records = append(e.records, r)
	}
}

func (e *evidence) lane() wire.Lane {
	switch {
	case len(e.records) > 0:
		return e.records[0].Lane
	case len(e.live) > 0:
		return e.live[0].Key.Lane
	}
	return e.dead[0].Key.Lane
}

func (e *evidence) head(t *Trace) {
	for _, r := range e.records {
		t.ID, t.Enqueued, t.Tags = r.ID, r.Enqueued, r.Tags
		t.From, t.Subject = cmp.Or(t.From, r.From), cmp.Or(t.Subject, r.Subject)
		t.Size = max(t.Size, r.Size)
	}
	for _, m := range e.live {
		t.ID, t.Enqueued, t.Size = m.Key.ID, m.Enqueued, max(t.Size, int64(m.Size))
		if m.Envelope != nil {
			t.From, t.Subject, t.Tags = m.Envelope.ReversePath(), m.Envelope.Subject, m.Envelope.Tags
		}
	}
}

// bcc are the addresses that the envelope names as Bcc alone; none if it is not at
// hand, because the log does not tell.
func (e *evidence) bcc() (addresses []string) {
	var from *schema.Envelope
	for _, m := range e.live {
		from = cmp.Or(m.Envelope, from)
	}
	for _, l := range e.dead {
		if x, err := schema.Decode(l.Producer, l.Body); err == nil {
			from = x
		}
	}
	if from == nil {
		return nil
	}
	for _, a := range from.Bcc {
		if !slices.ContainsFunc(slices.Concat(from.To, from.Cc), func(b mail.Address) bool { return b.Email == a.Email }) {
			addresses = append(addresses, a.Email)
		}
	}
	return addresses
}

// attempts are those of all records, each once. In the record of one recipient an
// attempt has only the outcome of that recipient.
func (e *evidence) attempts() []wire.Attempt {
	var all []wire.Attempt
	for _, r := range e.records {
		all = addAttempts(all, r.Attempts)
	}
	for _, m := range e.live {
		all = addAttempts(all, m.Log)
	}
	slices.SortStableFunc(all, func(a, b wire.Attempt) int { return a.At.Compare(b.At) })
	return all
}

func addAttempts(all, more []wire.Attempt) []wire.Attempt {
	for _, a := range more {
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
	return all
}

// sameAttempt: a session has one transaction at a time.
func sameAttempt(a, b wire.Attempt) bool { return a.At.Equal(b.At) && a.Session == b.Session }

func covers(outcomes []wire.GroupedOutcome, recipients wire.Indexes) bool {
	for _, x := range recipients {
		if !slices.ContainsFunc(outcomes, func(o wire.GroupedOutcome) bool { return slices.Contains(o.Recipients, x) }) {
			return false
		}
	}
	return true
}

// recipients are those that any record or the envelope names, by index.
func (e *evidence) recipients() []mail.Recipient {
	var all []mail.Recipient
	add := func(index int, address string) {
		if !slices.ContainsFunc(all, func(r mail.Recipient) bool { return r.Index == index }) {
			all = append(all, mail.Recipient{Index: index, Address: address})
		}
	}
	for _, r := range e.records {
		for _, x := range r.Recipients {
			add(x.Index, x.Address)
		}
	}
	for _, m := range e.live {
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

package queue

import (
	"cmp"
	"slices"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// LogLine is a line of the log that people read: what a record says of the recipients
// of whom it says the same.
type LogLine struct {
	Event wire.Event
	// Addresses are none if the envelope could not be read.
	Addresses []string
	// Words are the reply or what was wrong, and what comes next; they may be empty.
	Words string
}

// Text is the line without its time, event, lane and id.
func (l LogLine) Text() string {
	if len(l.Addresses) == 0 {
		return l.Words
	}
	return Names(l.Addresses) + Clause(l.Words)
}

// LogLines are the lines of a record about those recipients that are asked for: by address
// or "@domain", and by event. If neither is given, they are about all.
func LogLines(r *wire.Record, recipient string, asked wire.Event) []LogLine {
	if len(r.Recipients) == 0 {
		return []LogLine{{Event: r.Event, Words: r.Error}}
	}
	var all []LogLine
	for _, x := range r.Recipients {
		event, words := lineOfOne(r, x)
		if recipient != "" && !mail.SameAddress(x.Address, recipient) || asked != "" && event != asked {
			continue
		}
		i := slices.IndexFunc(all, func(l LogLine) bool { return l.Event == event && l.Words == words })
		if i < 0 {
			i = len(all)
			all = append(all, LogLine{Event: event, Words: words})
		}
		all[i].Addresses = append(all[i].Addresses, x.Address)
	}
	return all
}

// lineOfOne is what the record says of one recipient.
func lineOfOne(r *wire.Record, x wire.RecipientRecord) (event wire.Event, words string) {
	event, words = x.EventIn(r), x.Words()
	switch {
	case event == wire.EventReplayed, event == wire.EventDiscarded:
		return event, ""
	case x.State == wire.StateDelivered:
		return event, words
	case x.State == wire.StateDead:
		return event, string(x.Reason) + Clause(cmp.Or(words, r.Error))
	case event == wire.EventRequeued && x.State == wire.StatePending:
		return event, "no attempt counted" + Clause(x.WordsIn(r))
	case x.State == wire.StatePending:
		return wire.Event(x.State), "the next transaction of this message is for this recipient"
	}
	if words = x.WordsIn(r); words != "" {
		words += "; "
	}
	return event, words + "next attempt at " + Clock(r.Due)
}

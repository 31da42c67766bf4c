package smtp

import (
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
)

const (
	// refusalsKept bounds the memory, and what a run costs to find.
	refusalsKept = 100
	// mostHeld and mostSuspect bound the memory too.
	mostHeld    = 10000
	mostSuspect = 1000
	// sendersARound is how many senders are tried before a relay that is on trial is held
	// again.
	sendersARound = 10
	// suspectFor is how long a reply that once held mail does not kill after it was met.
	suspectFor = time.Hour
	// namedAtMost is how many dead messages a line of the log names.
	namedAtMost = 20
)

// refusals tell whether the relay refuses single messages, all mail of a sender, or all
// mail. They decide; the circuit guards them, and does what they say.
type refusals struct {
	// min and max bound the pauses of a sender.
	min, max time.Duration
	// since are the refusals since a message was accepted.
	since []refused
	// held are the senders whose mail is put off.
	held map[string]*hold
	// suspects are the likenesses of holds that an acceptance has ended, with the time
	// they were met last.
	suspects map[likeness]time.Time
	// all: the circuit is open, or on trial, because of a run of that likeness.
	all  bool
	like likeness
	// dead are the ids of messages that died before their run was known, until the log
	// names them.
	dead []string
	// round counts the senders that were tried since the circuit was open.
	round int
}

// hold is what is known of a sender whose mail the relay refuses.
type hold struct {
	like  likeness
	words string
	// until is when one of its messages is tried, the probe, after that pause.
	pause time.Duration
	until time.Time
	// probe is the key of the message that is being tried; or empty.
	probe string
	// quiet: the log does not tell of it.
	quiet bool
}

// ruling is what becomes of a message that was refused.
type ruling int

const (
	// itsOwn: the reply means what it says.
	itsOwn ruling = iota
	// suspected: it is deferred.
	suspected
	// ofSender: it is put off, as all mail of its sender is.
	ofSender
	// ofRelay: it is requeued, and the circuit opens.
	ofRelay
)

// met decides on a refusal. onTrial: the relay is on trial, and it is this message's turn.
func (r *refusals) met(x refused, onTrial bool) ruling {
	h := r.held[x.from]
	switch {
	case x.like == (likeness{}):
		if !r.all {
			r.note(x)
		}
		return itsOwn
	case r.all && onTrial:
		r.hold(x, x.like)
		if r.round++; r.round < sendersARound {
			return ofSender
		}
		r.round = 0
		return ofRelay
	case h != nil && h.like.covers(x.like):
		if h.probe == x.key {
			r.hold(x, h.like)
		}
		return ofSender
	case r.all:
		return ofRelay // it was in flight when the circuit opened
	}
	suspect := r.suspect(x)
	x.dead = x.dead && !suspect
	r.note(x)
	like, found := r.run(x, suspect)
	if found {
		r.find(like, x.key)
	}
	switch {
	case found && r.onlyFrom(x.from, like):
		r.hold(x, like)
		return ofSender
	case found:
		r.like = like
		return ofRelay
	case suspect:
		return suspected
	}
	return itsOwn
}

// note adds a refusal. A message counts once, however many transactions it takes.
func (r *refusals) note(x refused) {
	i := slices.IndexFunc(r.since, func(y refused) bool { return y.key == x.key && y.like == x.like })
	if i < 0 {
		r.since = append(r.since, x)
	}
	r.since = r.since[max(0, len(r.since)-refusalsKept):]
}

// run returns the likeness of the run that ends with x. A likeness that is suspect needs
// many within a minute; a relay refuses some mail and accepts other.
func (r *refusals) run(x refused, suspect bool) (likeness, bool) {
	loose := x.like.loose()
	row, minute := count(r.since, x.like)
	looseRow, looseMinute := count(r.since, loose)
	switch {
	case minute >= runInAMinute, !suspect && (row >= runInARow || r.heldAlike(x)):
		return x.like, true
	case suspect && looseMinute >= runInAMinute, !suspect && looseRow >= looseRun:
		return loose, true
	}
	return likeness{}, false
}

// heldAlike reports that another sender is held for such a reply, and nothing was accepted
// since.
func (r *refusals) heldAlike(x refused) bool {
	return slices.ContainsFunc(r.since, func(y refused) bool {
		h := r.held[y.from]
		return y.from != x.from && h != nil && h.like.covers(x.like) && h.like.covers(y.like)
	})
}

// onlyFrom reports that the replies of the run were to mail of that sender alone.
func (r *refusals) onlyFrom(from string, like likeness) bool {
	return !slices.ContainsFunc(r.since, func(y refused) bool { return like.covers(y.like) && y.from != from })
}

// hold has the mail of x's sender put off, for twice as long if it was held before.
func (r *refusals) hold(x refused, like likeness) {
	h := r.held[x.from]
	if h == nil {
		room(&r.held, mostHeld)
		h = &hold{quiet: true}
		r.held[x.from] = h
	}
	h.pause = min(max(2*h.pause, r.min), r.max)
	h.like, h.words, h.until, h.probe = like, x.words, x.at.Add(h.pause), ""
}

// suspect reports that x is like a reply that once held mail, and notes when it was met.
func (r *refusals) suspect(x refused) (is bool) {
	for _, like := range []likeness{x.like, x.like.loose()} {
		if met, known := r.suspects[like]; known && x.at.Sub(met) < suspectFor {
			r.suspects[like], is = x.at, true
		}
	}
	return is
}

// released makes suspect what held mail until now.
func (r *refusals) released(like likeness, now time.Time) {
	if like != (likeness{}) {
		room(&r.suspects, mostSuspect)
		r.suspects[like] = now
	}
}

// accepted notes that the relay accepted a message of that sender, or at RCPT only a
// recipient. If it was the probe, that ends the hold, which is returned: what was in flight
// when the hold began says nothing.
func (r *refusals) accepted(from, key string, atRcpt bool, now time.Time) *hold {
	r.since = slices.DeleteFunc(r.since, func(x refused) bool { return !atRcpt || x.like.rcpt })
	h := r.held[from]
	if h == nil || h.probe != key || atRcpt && !h.like.rcpt {
		return nil
	}
	delete(r.held, from)
	r.released(h.like, now)
	return h
}

// over notes that the circuit is closed.
func (r *refusals) over(now time.Time) {
	if r.all {
		r.released(r.like, now)
		r.since, r.all, r.like, r.round = nil, false, likeness{}, 0
	}
}

// lets reports that the hold lets a message be tried: the probe.
func (h *hold) lets(key string, now time.Time) bool {
	return h.probe == key || h.probe == "" && !now.Before(h.until)
}

// find finds the messages that died of such replies; last is the one that did not.
func (r *refusals) find(like likeness, last string) {
	for i := range r.since {
		x := &r.since[i]
		if !like.covers(x.like) || !x.dead {
			continue
		}
		if x.dead = false; x.key != last && !slices.Contains(r.dead, x.id) {
			r.dead = append(r.dead, x.id)
		}
	}
}

// senders are those that are held, with the reply, as far as people want to read them.
func (r *refusals) senders() (all []string) {
	for from, h := range r.held {
		all = append(all, path(from)+": "+h.words)
	}
	slices.SortFunc(all, strings.Compare)
	return all[:min(len(all), namedAtMost)]
}

// path is a sender for people.
func path(from string) string {
	if from == "" {
		return "<>"
	}
	return mail.Sentence(from, mail.MaxReply)
}

// room makes a map, and room for one more in it.
func room[K comparable, V any](m *map[K]V, most int) {
	if *m == nil {
		*m = make(map[K]V)
	}
	for k := range *m {
		if len(*m) < most {
			return
		}
		delete(*m, k)
	}
}

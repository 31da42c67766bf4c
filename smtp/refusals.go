package smtp

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
)

const (
	// refusalsKept and ofSenderKept bound the memory, and what a run costs to find.
	refusalsKept = 1000
	ofSenderKept = 100
	// mostHeld and mostSuspect bound the memory too.
	mostHeld    = 10000
	mostSuspect = 1000
	mostTried   = 100
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
	// since are the refusals since a message of their sender was accepted, and those of which
	// that is not sure.
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
	// asked is when a message of that sender was there last.
	asked time.Time
	// tried are the keys of the probes that were refused. Others are tried before them: it
	// may be these alone that the relay refuses.
	tried map[string]bool
	// quiet: the log does not tell of it.
	quiet bool
	// amid: mail of others was accepted meanwhile, so that it says nothing of the relay.
	amid bool
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
		r.find(x.key, x.of(x.like)) // mail of others was accepted after these, not of this sender
		if r.round++; r.round < sendersARound {
			return ofSender
		}
		r.round = 0
		return ofRelay
	case h != nil && h.like.covers(x.like):
		if h.probe == x.key {
			r.hold(x, h.like)
			room(&h.tried, mostTried)
			h.tried[x.key] = true
		}
		return ofSender
	case r.all:
		return ofRelay // it was in flight when the circuit opened
	}
	suspect := r.suspect(x)
	x.dead = x.dead && !suspect
	r.note(x)
	if like, ofAll, found := r.run(x, suspect); found {
		return r.ruled(x, like, ofAll)
	}
	if suspect {
		return suspected
	}
	return itsOwn
}

// ruled is what becomes of x, which ends a run of that likeness; ofAll: one of all mail.
func (r *refusals) ruled(x refused, like likeness, ofAll bool) ruling {
	others := func(y refused) bool { return unpassed(&y) && y.from != x.from && like.covers(y.like) }
	if ofAll && slices.ContainsFunc(r.since, others) || r.heldAlike(x) {
		r.find(x.key, func(y refused) bool { return !y.surely && like.covers(y.like) })
		r.like = like
		return ofRelay
	}
	r.find(x.key, x.of(like))
	amid := slices.ContainsFunc(r.since, func(y refused) bool { return y.passed && !y.gone && y.from == x.from })
	r.hold(x, like)
	r.held[x.from].amid = amid
	return ofSender
}

// note adds a refusal. A message counts once, however many transactions it takes.
func (r *refusals) note(x refused) {
	same := func(y refused) bool { return y.key == x.key && y.like == x.like && !y.gone }
	if slices.ContainsFunc(r.since, same) {
		return
	}
	own := func(y refused) bool { return y.from == x.from }
	// Of what only ends runs the last is enough.
	old := slices.IndexFunc(r.since, func(y refused) bool { return own(y) && y.like == x.like && x.like == (likeness{}) })
	if old < 0 && length(r.those(func(y *refused) bool { return own(*y) })) >= ofSenderKept {
		old = slices.IndexFunc(r.since, own)
	}
	if old >= 0 {
		r.since = slices.Delete(r.since, old, old+1)
	}
	r.since = append(r.since, x)
	r.since = r.since[max(0, len(r.since)-refusalsKept):]
}

// run returns the likeness of the run that ends with x: of all mail, with nothing accepted
// between, or of that of its sender, with nothing of the sender accepted.
func (r *refusals) run(x refused, suspect bool) (like likeness, ofAll, found bool) {
	if like, found = runIn(r.those(unpassed), x, suspect); found {
		return like, true, true
	}
	if !suspect && r.heldAlike(x) {
		return x.like, false, true
	}
	like, found = runIn(r.those(func(y *refused) bool { return !y.gone && y.from == x.from }), x, suspect)
	return like, false, found
}

// runIn is the run of these that ends with x. A likeness that is suspect needs many within a
// minute; a relay refuses some mail and accepts other.
func runIn(all iter.Seq[*refused], x refused, suspect bool) (likeness, bool) {
	loose := x.like.loose()
	row, minute := count(all, x.at, x.like)
	looseRow, looseMinute := count(all, x.at, loose)
	switch {
	case minute >= runInAMinute, !suspect && row >= runInARow:
		return x.like, true
	case suspect && looseMinute >= runInAMinute, !suspect && looseRow >= looseRun:
		return loose, true
	}
	return likeness{}, false
}

// unpassed are the refusals since anything was accepted.
func unpassed(x *refused) bool { return !x.passed }

// those are the refusals that match, the oldest first.
func (r *refusals) those(match func(*refused) bool) iter.Seq[*refused] {
	return func(yield func(*refused) bool) {
		for i := range r.since {
			if x := &r.since[i]; match(x) && !yield(x) {
				return
			}
		}
	}
}

// length is the number of these.
func length(all iter.Seq[*refused]) (n int) {
	for range all {
		n++
	}
	return n
}

// heldAlike reports that another sender is held for such a reply, and nothing was accepted
// since.
func (r *refusals) heldAlike(x refused) bool {
	return slices.ContainsFunc(r.since, func(y refused) bool {
		h := r.held[y.from]
		return unpassed(&y) && y.from != x.from && h != nil && !h.amid && h.like.covers(x.like) && h.like.covers(y.like)
	})
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
	if h.like != like { // else the same words go on: there may be an id in them
		h.like, h.words = like, x.words
	}
	h.until, h.probe, h.asked = x.at.Add(h.pause), "", x.at
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

// accepted notes that the relay accepted a message of that sender, which was asked for at
// that time, or at RCPT only a recipient. If it was the probe, that ends the hold, which is
// returned: what was in flight when the hold began says nothing.
func (r *refusals) accepted(from, key string, atRcpt bool, asked, now time.Time) *hold {
	says := func(x *refused) bool { return !atRcpt || x.like.rcpt }
	r.since = slices.DeleteFunc(r.since, func(x refused) bool { return x.from == from && says(&x) && x.at.Before(asked) })
	for i := range r.since {
		x := &r.since[i]
		if !says(x) {
			continue
		}
		x.gone = x.gone || x.from == from
		x.passed, x.surely = true, x.surely || x.at.Before(asked)
	}
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

// lets reports that the hold lets a message be tried: the probe. One that was refused
// already leaves the others another such pause.
func (h *hold) lets(key string, now time.Time) bool {
	until := h.until
	if h.tried[key] {
		until = until.Add(h.pause)
	}
	return h.probe == key || h.probe == "" && !now.Before(until)
}

// find finds the messages of a run that died; last is the one that did not.
func (r *refusals) find(last string, of func(refused) bool) {
	for i := range r.since {
		x := &r.since[i]
		if !x.dead || !of(*x) {
			continue
		}
		if x.dead = false; x.key != last && !slices.Contains(r.dead, x.id) {
			r.dead = append(r.dead, x.id)
		}
	}
}

// askedWithin is how many of the longest pauses may pass until a message that was put off
// is there again, or all that there were have ended.
const askedWithin = 4

// senders are those that are held and whose mail waits, with the reply, as far as people
// want to read them.
func (r *refusals) senders(now time.Time) (all []string) {
	for from, h := range r.held {
		if now.Sub(h.asked) < askedWithin*r.max {
			all = append(all, path(from)+": "+h.words)
		}
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

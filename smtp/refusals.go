package smtp

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/mail"
)

// A relay whose account is blocked, or out of quota, may refuse each message for good, in
// words of its own. Each of these refusals looks like a fault of the message. A run of them
// is the relay's fault: one and the same reply to different messages.
const (
	// runInARow is a run if no other reply came between.
	runInARow = 5
	// runInAMinute is a run if nothing was accepted between.
	runInAMinute = 20
)

const (
	// refusalsKept bounds the memory, and what a run costs to find.
	refusalsKept = 100
	// namedAtMost is how many messages an alarm names.
	namedAtMost = 20
	// yields is how long a message waits for others to be tried before it.
	yields = 400 * time.Millisecond
)

// refusals tell whether the relay refuses single messages or all mail. The circuit guards
// them.
type refusals struct {
	// since are the refusals since a message was accepted.
	since []refused
	// all: the circuit is open, or on trial, because of a run.
	all bool
	// dead are the ids of messages that failed before their run was known, until they are
	// logged.
	dead []string
	// tried are the ids and senders of messages that met a fault that somebody has to fix,
	// since the circuit opened.
	tried map[string]bool
}

// refused is a reply that refused a message, for now or for good.
type refused struct {
	message string
	at      time.Time
	reply   likeness
	// told: the message did not fail, or is in dead.
	told bool
}

// likeness is what the replies of a run have in common. It is zero for one that is of the
// message, or temporary.
type likeness struct {
	code            int
	enhanced, words string
}

// likenessOf leaves out of the reply's words what differs between messages: whatever has
// a digit, and addresses.
func likenessOf(r reply) likeness {
	if r.code/100 != 5 || tooBig(r) {
		return likeness{}
	}
	words := slices.DeleteFunc(strings.Fields(strings.ToLower(r.words())), func(w string) bool {
		return strings.ContainsFunc(w, func(c rune) bool { return c == '@' || unicode.IsDigit(c) })
	})
	return likeness{r.code, r.enhanced, mail.Cut(strings.Join(words, " "), mail.MaxReply)}
}

// isRun reports that the last of these replies, and those like it, are a run.
func isRun(since []refused, like likeness) bool {
	if like == (likeness{}) {
		return false
	}
	last := since[len(since)-1].at
	row, minute := 0, 0
	for _, x := range since {
		if x.reply != like {
			row = 0
			continue
		}
		row++
		if last.Sub(x.at) < time.Minute {
			minute++
		}
	}
	return row >= runInARow || minute >= runInAMinute
}

// add notes a reply that refused a message, and reports that it is the relay's fault. A
// message counts once, however many transactions it takes.
func (r *refusals) add(message string, like likeness, now time.Time) bool {
	permanent := like != likeness{}
	if r.all {
		return permanent
	}
	if !slices.ContainsFunc(r.since, func(x refused) bool { return x.message == message && x.reply == like }) {
		r.since = append(r.since, refused{message: message, at: now, reply: like})
	}
	r.since = r.since[max(0, len(r.since)-refusalsKept):]
	if !isRun(r.since, like) {
		return false
	}
	for i := range r.since {
		x := &r.since[i]
		if x.reply != like || x.told {
			continue
		}
		if x.told = true; x.message != message {
			r.dead = append(r.dead, x.message)
		}
	}
	return true
}

// tryLater notes that a message met the fault.
func (r *refusals) tryLater(m *mail.Message) {
	if r.tried == nil || len(r.tried) >= mostBlamed {
		r.tried = make(map[string]bool)
	}
	r.tried[m.ID], r.tried[m.From] = true, true
}

// yield is how long a message lets others be tried before it: what has another sender
// is the first, then what was not tried before. One message that the relay will never
// accept must not take the turn of those that it would.
func (r *refusals) yield(m *mail.Message) (d time.Duration) {
	for _, x := range []string{m.ID, m.From} {
		if r.tried[x] {
			d += yields
		}
	}
	return d
}

// over forgets all but what has to be logged: the circuit is closed.
func (r *refusals) over() { *r = refusals{since: r.since, dead: r.dead} }

// sayDead says once which messages are dead already.
func (r *refusals) sayDead() string {
	all := r.dead
	r.dead = nil
	if len(all) == 0 {
		return ""
	}
	more := ""
	if n := len(all) - namedAtMost; n > 0 {
		all, more = all[:namedAtMost], fmt.Sprintf(" and %d more", n)
	}
	var ids strings.Builder
	for _, id := range all {
		ids.WriteString(" " + mail.Quote(id))
	}
	return "; dead already, to be sent again when mail moves: postrider dead replay" + ids.String() + more
}

// inRun is the verdict on a reply to a message as a whole, in view of those to others.
// RCPT is for one recipient, and a refusal after which the message is tried again at once
// does not count.
func (d *delivery) inRun(v verdict, stage mail.Stage, r reply) verdict {
	if stage == mail.StageRcpt || v.again != never || r.code == 0 {
		return v
	}
	switch v.class {
	case mail.Delivered:
		d.circuit.accepted()
	case mail.Deferred, mail.Failed:
		if d.circuit.refused(d.m.ID, likenessOf(r)) {
			v.class, v.trouble = mail.Requeued, refusing
		}
	}
	return v
}

// accepted ends a run that was not complete.
func (c *circuit) accepted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals.since = nil
}

// tryLater notes that a message met a fault that somebody has to fix.
func (c *circuit) tryLater(m *mail.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals.tryLater(m)
}

// refused notes a reply that refused a message, and reports that it is the relay's fault.
func (c *circuit) refused(message string, like likeness) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusals.add(message, like, time.Now())
}

package smtp

import (
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/mail"
)

// A relay whose account is blocked, or out of quota, may refuse each message for good, in
// words of its own. Each of these refusals looks like a fault of the message. A run of them
// is not: one and the same reply to different messages.
const (
	// runInARow is a run if no other reply came between.
	runInARow = 5
	// runInAMinute is a run if nothing was accepted between.
	runInAMinute = 20
	// looseRun is a run in a row if only code and subject are the same.
	looseRun = 20
	// runOfDomains is how many domains a run at RCPT has at least: a rule against one
	// domain's recipients is theirs.
	runOfDomains = 3
)

// likeness is what the replies of a run have in common. It is zero for one that is of the
// message, or temporary.
type likeness struct {
	// rcpt: all recipients were refused at RCPT.
	rcpt            bool
	code            int
	enhanced, words string
}

var (
	domainWord = regexp.MustCompile(`\pL\.\pL`)
	// absentWords say that there is no such recipient.
	absentWords = regexp.MustCompile(`(?i)\b(unknown|no such|not? (exist|found)|mail ?box)\b`)
)

// likenessOf leaves out of the reply's words what differs between messages: whatever has
// a digit, addresses and domains.
func likenessOf(r reply) likeness {
	if r.code/100 != 5 || tooBig(r) {
		return likeness{}
	}
	words := slices.DeleteFunc(strings.Fields(strings.ToLower(r.words())), func(w string) bool {
		return domainWord.MatchString(w) || strings.ContainsFunc(w, func(c rune) bool { return c == '@' || unicode.IsDigit(c) })
	})
	return likeness{code: r.code, enhanced: r.enhanced, words: mail.Cut(strings.Join(words, " "), mail.MaxReply)}
}

// likenessAtRcpt is that of a message all of whose recipients were refused with these
// replies. It is zero unless they are alike and may refuse us or the sender: 5.7.x, or a
// 550 or 554 that says no more.
func likenessAtRcpt(replies []reply) likeness {
	like := likenessOf(replies[0])
	for _, r := range replies {
		bare := r.enhanced == "" && (r.code == 550 || r.code == 554) && !absentWords.MatchString(r.words())
		if likenessOf(r) != like || !bare && !strings.HasPrefix(r.agreed(), "5.7.") {
			return likeness{}
		}
	}
	if like != (likeness{}) {
		like.rcpt = true
	}
	return like
}

// loose is the likeness of all replies of 5.7.x with that code, whatever the words; zero
// for others.
func (l likeness) loose() likeness {
	if !strings.HasPrefix(l.enhanced, "5.7.") {
		return likeness{}
	}
	return likeness{rcpt: l.rcpt, code: l.code, enhanced: "5.7.x"}
}

// covers reports that x is like l, which may be a loose one.
func (l likeness) covers(x likeness) bool {
	return l != likeness{} && (l == x || l == x.loose())
}

// refused is a reply that refused a message, for now or for good.
type refused struct {
	at time.Time
	// key tells the message from others, id names it for people.
	key, id, from string
	// domains are those of its recipients, at most runOfDomains.
	domains []string
	like    likeness
	// words are the whole reply.
	words string
	// dead: the message failed, and the log does not name it yet.
	dead bool
	// passed: mail was accepted since; gone: mail of its own sender was. It counts for nothing
	// then, but it is named with a run that comes: that acceptance may be the older one.
	// surely: one was not. What is gone, or surely passed, is passed.
	passed, gone, surely bool
}

// of matches the refusals of the same sender that are like that.
func (x refused) of(like likeness) func(refused) bool {
	return func(y refused) bool { return y.from == x.from && like.covers(y.like) }
}

// count counts those that are like that: the last ones in a row, and those within a minute
// before the last.
func count(all iter.Seq[*refused], last time.Time, like likeness) (inARow, inAMinute int) {
	var row, minute tally
	for x := range all {
		if !like.covers(x.like) {
			row = tally{}
			continue
		}
		row.add(x)
		if last.Sub(x.at) < time.Minute {
			minute.add(x)
		}
	}
	return row.count(), minute.count()
}

// tally counts refusals that are alike.
type tally struct {
	n       int
	rcpt    bool
	domains map[string]bool
}

func (t *tally) add(x *refused) {
	t.n++
	if t.rcpt = x.like.rcpt; !t.rcpt {
		return
	}
	if t.domains == nil {
		t.domains = make(map[string]bool)
	}
	for _, d := range x.domains {
		t.domains[d] = true
	}
}

// count is 0 if they are of RCPT and have too few domains.
func (t *tally) count() int {
	if t.rcpt && len(t.domains) < runOfDomains {
		return 0
	}
	return t.n
}

package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/mail"
)

// Explained is what a reply would mean.
type Explained struct {
	// Rule is the operator's rule that decides; nil if the table does.
	Rule *Rule
	// Outcome is what the table or the rule makes of it, in words.
	Outcome string
}

// Explain says what a reply at that stage means for a message that is sent to a relay that
// has accepted others, if it is the first such reply. The reply is as the relay sends it,
// with LF between several lines.
func Explain(rules []Rule, stage mail.Stage, said string) (Explained, error) {
	r, err := readWhole(said)
	if err != nil {
		return Explained{}, err
	}
	a := answer{stage: stage, reply: r, first: true, trusted: true}
	if x := ruleFor(rules, a); x != nil {
		return Explained{x, inWords(x.verdict(a))}, nil
	}
	return Explained{nil, inWords(judge(a))}, nil
}

// readWhole reads a reply that has nothing before or behind it.
func readWhole(said string) (reply, error) {
	in := strings.NewReader(strings.TrimRight(said, "\r\n") + "\n")
	br := bufio.NewReaderSize(in, 2*maxReplyLine)
	r, err := readReply(br, nil)
	switch {
	case errors.Is(err, errOutOfStep), err == nil && br.Buffered()+in.Len() > 0:
		return reply{}, fmt.Errorf("%q is not a reply like 550 5.7.1 words", mail.Sentence(said, 80))
	case err != nil:
		return reply{}, fmt.Errorf("%q is not a whole reply: its last line must be like 550 5.7.1 words", mail.Sentence(said, 80))
	}
	return r, nil
}

// inWords is a verdict for people.
func inWords(v verdict) string {
	switch v.trouble {
	case crowded:
		return "requeued, not counted: the relay asks for fewer sessions"
	case throttled:
		return "throttled: all mail pauses, and nothing is counted"
	case exhausted:
		return "throttled: a limit of the account is reached, all mail pauses, and nothing is counted"
	case heldByRule:
		return "hold: the relay is held, all mail waits, and nothing is counted"
	case fine, down, refusing, alarming:
	}
	switch {
	case v.trouble != fine:
		return "an alarm: the relay is held, all mail waits, and nothing is counted"
	case v.later:
		return "requeued: this message alone is put off, and nothing is counted"
	case v.class == mail.Deferred:
		return "deferred: tried again later, and counted"
	case v.class == mail.Failed && v.rule == nil:
		return "failed, for good, unless it comes to one message after the other"
	case v.class == mail.Failed:
		return "failed, for good"
	case v.class == mail.Uncertain:
		return "uncertain: it may have been accepted; tried again later, and counted"
	case v.class == mail.Requeued:
		return "requeued, not counted"
	}
	return "accepted"
}

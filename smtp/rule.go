package smtp

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
)

// Rule is what an operator says of some replies, in view of the words of one provider. It
// counts before the table of replies, and applies to 4yz and 5yz alone. Package relays
// reads and checks it.
type Rule struct {
	// Line is where it is in its file, for people.
	Line int
	// Stages are those of [RuleStages] at which it applies; empty means all of them.
	Stages []mail.Stage
	// Codes are the codes that it is for; empty means all.
	Codes []int
	// Enhanced is the enhanced code that it is for, like 5.7.1, or like 5.7.x for all of
	// that subject; empty means any or none.
	Enhanced string
	// Text has to match the reply's words; nil matches all.
	Text    *regexp.Regexp
	Outcome RuleOutcome
	// Pause is the first pause before the relay is tried again, if Outcome stops it; 0 means
	// that of the Config.
	Pause time.Duration
	// Note is what people read beside the relay's own words.
	Note string
}

// RuleOutcome is what a rule makes of a reply.
type RuleOutcome string

// The outcomes of rules.
const (
	// RuleDeferred and RuleFailed are the classes of the recipients concerned. What was
	// refused so is no sign that the relay refuses all mail, or all of a sender.
	RuleDeferred RuleOutcome = "deferred"
	RuleFailed   RuleOutcome = "failed"
	// RuleThrottled: the relay asks for less mail. All mail pauses, and no attempt is counted.
	RuleThrottled RuleOutcome = "throttled"
	// RuleRequeued: this message alone is put off, and no attempt is counted.
	RuleRequeued RuleOutcome = "requeued"
	// RuleHold: the relay is held, with an alarm, until mail gets past that step.
	RuleHold RuleOutcome = "hold"
)

// RuleOutcomes are all of them.
var RuleOutcomes = []RuleOutcome{RuleDeferred, RuleFailed, RuleThrottled, RuleRequeued, RuleHold}

// RuleStages are the steps at which rules apply: those that concern a message.
var RuleStages = envelopeOn

// MaxRuleNote is the length in bytes to which the words about a rule are cut.
const MaxRuleNote = 100

// ruleFor is the first rule that is for that answer; nil if there is none.
func ruleFor(rules []Rule, a answer) *Rule {
	for i := range rules {
		if rules[i].isFor(a) {
			return &rules[i]
		}
	}
	return nil
}

// isFor reports that the rule applies to an answer. What answers another command, as 503
// does, says nothing about this one.
func (x *Rule) isFor(a answer) bool {
	r := a.reply
	if !refusal(a) || outOfStep(a) || !slices.Contains(RuleStages, a.stage) {
		return false
	}
	return (len(x.Stages) == 0 || slices.Contains(x.Stages, a.stage)) &&
		(len(x.Codes) == 0 || slices.Contains(x.Codes, r.code)) &&
		(x.Enhanced == "" || x.isForEnhanced(r.agreed())) &&
		(x.Text == nil || x.Text.MatchString(r.words()))
}

func (x *Rule) isForEnhanced(enhanced string) bool {
	subject, all := strings.CutSuffix(x.Enhanced, "x")
	return enhanced == x.Enhanced || all && strings.HasPrefix(enhanced, subject)
}

// verdict is what the rule makes of an answer. A message that stopped the relay so often
// while others were accepted that it may itself be why is put off alone.
func (x *Rule) verdict(a answer) verdict {
	// A relay that says 421 closes (RFC 5321 section 3.8); after an early reply to the body
	// it would read the rest of it as commands.
	v := verdict{rule: x, class: mail.Requeued, gone: a.reply.code == 421 || a.stage == mail.StageBody}
	switch outcome := x.Outcome; {
	case outcome == RuleDeferred:
		v.class = mail.Deferred
	case outcome == RuleFailed:
		v.class = mail.Failed
	case outcome == RuleRequeued, a.blamed:
		v.later = true
	case outcome == RuleThrottled:
		v.trouble = throttled
	default:
		v.trouble = heldByRule
	}
	return v
}

// said is the rule in brackets, for people.
func (x *Rule) said() string {
	if x.Note == "" {
		return fmt.Sprintf("(rule in line %d)", x.Line)
	}
	return "(rule: " + mail.Sentence(x.Note, MaxRuleNote) + ")"
}

// withRule says in the reply which rule decided.
func withRule(o mail.Outcome, x *Rule) mail.Outcome {
	if x == nil {
		return o
	}
	said := " " + x.said()
	o.Reply = strings.TrimSpace(mail.Cut(o.Reply, mail.MaxReply-len(said)) + said)
	return o
}

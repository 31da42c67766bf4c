package smtp

import "github.com/postrider/postrider/schema"

// answer is what came back at one step of the dialogue.
type answer struct {
	stage schema.Stage
	// reply is the zero reply where none came in time, or none that makes sense.
	reply reply
	// reused: the session has carried a transaction before, or lay idle.
	reused bool
	// first: the RCPT is the transaction's first.
	first bool
	// params: the MAIL had optional parameters.
	params bool
}

// verdict is what an answer means.
type verdict struct {
	// class is that of the recipients concerned; empty means go on.
	class schema.Class
	// trouble is what the answer says about the relay.
	trouble trouble
	// gone: the session cannot be used again.
	gone bool
	// again: the transaction is begun once more, at no cost.
	again again
}

// trouble is how badly off a relay is.
type trouble int

const (
	fine trouble = iota
	// crowded: it has too many sessions, or is going away.
	crowded
	// throttled: it works and asks for less.
	throttled
	// down: it does not work for now.
	down
	// alarming: it will not work until somebody does something.
	alarming
)

// again is how a transaction is begun once more.
type again int

const (
	never again = iota
	onNewSession
	withoutParams
)

// judge is the table of what replies mean. Stage beats code and code beats
// text: rows further up win, and an enhanced code counts only where it agrees
// with the reply's first digit.
func judge(a answer) verdict {
	code := a.reply.code
	switch {
	case wantsCredentials(code):
		return verdict{class: schema.Delayed, trouble: alarming, gone: true}
	case !fits(a.stage, code):
		return judgeSilence(a)
	}
	switch a.stage {
	case schema.StageMail:
		return judgeMail(a)
	case schema.StageRcpt:
		return judgeRcpt(a)
	case schema.StageData, schema.StageBody, schema.StageDot:
		return judgeMessage(a)
	}
	return judgeOpening(a)
}

// fits reports whether a reply with that code can answer at that stage. One
// that cannot shows that the two sides are out of step (RFC 5321 section 4.3.2).
func fits(stage schema.Stage, code int) bool {
	first := code / 100
	switch {
	case code == 0 || code == 503:
		return false
	case stage == schema.StageData:
		return code == 354 || first == 4 || first == 5
	case stage == schema.StageBody:
		return first == 4 || first == 5
	case stage == schema.StageMail || stage == schema.StageRcpt || stage == schema.StageDot:
		return first == 2 || first == 4 || first == 5
	}
	return true
}

// judgeSilence: a hang-up, no reply in time, 503, or a reply that fits no command.
func judgeSilence(a answer) verdict {
	switch a.stage {
	case schema.StageMail, schema.StageRcpt:
		v := verdict{class: schema.Delayed, gone: true}
		if a.reused {
			v.again = onNewSession
		}
		return v
	case schema.StageData, schema.StageBody:
		// The message itself may be why, so it counts.
		return verdict{class: schema.Deferred, gone: true}
	case schema.StageDot:
		// The relay may have accepted it (RFC 1047).
		return verdict{class: schema.Uncertain, gone: true}
	}
	return judgeOpening(a)
}

// judgeOpening: connect to AUTH. No message is to blame for what goes wrong there.
func judgeOpening(a answer) verdict {
	v := verdict{class: schema.Delayed, trouble: down, gone: true}
	switch {
	case a.stage == schema.StageAuth && a.reply.code/100 == 5:
		v.trouble = alarming
	case a.reply.code/100 == 4:
		v.trouble = crowded
	}
	return v
}

func judgeMail(a answer) verdict {
	code, enhanced := a.reply.code, a.reply.agreed()
	switch {
	case code/100 == 2:
		return verdict{}
	case a.reused && (code == 421 || code == 451 && enhanced == "4.4.2"):
		// It had given up on the session while that lay idle.
		return verdict{class: schema.Delayed, gone: true, again: onNewSession}
	case code == 421:
		return verdict{class: schema.Delayed, trouble: crowded, gone: true}
	case code == 452, code == 454, code == 432, enhanced == "4.7.28":
		return verdict{class: schema.Delayed, trouble: throttled}
	case code/100 == 4:
		return verdict{class: schema.Deferred}
	case a.params && (code == 555 || code == 501):
		return verdict{class: schema.Failed, again: withoutParams}
	}
	return verdict{class: schema.Failed}
}

func judgeRcpt(a answer) verdict {
	code, enhanced := a.reply.code, a.reply.agreed()
	// RFC 5321 section 4.5.3.1.10: 552 is what older relays say instead of 452.
	tooMany := code == 452 || enhanced == "4.5.3" || code == 552 && (enhanced == "" || enhanced == "5.5.3")
	switch {
	case code/100 == 2:
		return verdict{}
	case code == 421:
		return verdict{class: schema.Delayed, gone: true}
	case tooMany && !a.first:
		return verdict{class: schema.Open}
	case tooMany || code/100 == 4:
		return verdict{class: schema.Deferred}
	}
	return verdict{class: schema.Failed}
}

// judgeMessage: DATA, an early reply to the body, and the reply to the dot.
func judgeMessage(a answer) verdict {
	// After 421 the relay closes (RFC 5321 section 3.8); an early reply leaves
	// the rest of the body behind it.
	v := verdict{gone: a.reply.code == 421 || a.stage == schema.StageBody}
	switch a.reply.code / 100 {
	case 2:
		v.class = schema.Delivered
	case 4:
		v.class = schema.Deferred
	case 5:
		v.class = schema.Failed
	}
	return v
}

// agreed is the enhanced code where it agrees with the reply's first digit.
func (r reply) agreed() string {
	if r.enhanced == "" || int(r.enhanced[0]-'0') != r.code/100 {
		return ""
	}
	return r.enhanced
}

package smtp

import (
	"slices"
	"strings"

	"github.com/postrider/postrider/mail"
)

// answer is what came back at one step of the dialogue.
type answer struct {
	stage mail.Stage
	// reply is the zero reply if none came in time, or none that makes sense.
	reply reply
	// reused: the session has been in the pool, so the relay may have closed it.
	reused bool
	// first: the RCPT is the transaction's first.
	first bool
	// params: the MAIL had optional parameters.
	params bool
	// trusted: in this session the relay has accepted our password, or a message.
	trusted bool
	// stranger: the relay offers AUTH, we have no user name, and it has accepted neither a
	// message nor a recipient of this one.
	stranger bool
	// blamed: the relay asks for less because of this message.
	blamed bool
}

// verdict is what an answer means.
type verdict struct {
	// class is that of the recipients concerned; empty means to go on.
	class mail.Class
	// trouble is what the answer says about the relay.
	trouble trouble
	// gone: the session cannot be used again.
	gone bool
	// again: the transaction is begun once more, uncounted.
	again again
	// later: the message is put off, while the relay works for others.
	later bool
	// rule is the operator's that says so; nil if the table does.
	rule *Rule
}

// trouble is what is wrong with a relay, the mildest first.
type trouble int

const (
	fine trouble = iota
	// crowded: it has too many sessions, or is shutting down.
	crowded
	// throttled: it works and asks for less.
	throttled
	// exhausted: the same, and in words that may mean a limit of an hour or a day.
	exhausted
	// down: it does not work for now.
	down
	// refusing: it refuses one message after the other with the same reply.
	refusing
	// heldByRule: a rule of the operator holds it.
	heldByRule
	// alarming: it will not work until somebody changes something.
	alarming
)

// again is how a transaction is begun once more.
type again int

const (
	never again = iota
	onNewSession
	withoutParams
)

// tableRow is a row of the table: what an answer means at one of these stages, if on
// holds for it.
type tableRow struct {
	at    []mail.Stage
	on    func(answer) bool
	means verdict
}

// judge looks an answer up in the table: the first row that matches counts. The rules of
// the operator come before it ([transaction.judge]).
func judge(a answer) verdict { return rowFor(a).means }

func rowFor(a answer) *tableRow {
	for i := range table {
		if r := &table[i]; slices.Contains(r.at, a.stage) && r.on(a) {
			return r
		}
	}
	// TestJudgeEverything holds that no answer gets here.
	return &tableRow{means: verdict{class: mail.Requeued, gone: true}}
}

// table is what replies mean. Stage beats code and code beats text; an enhanced
// code counts only if it agrees with the reply's first digit (RFC 2034 section 4).
// testdata/replies.txt has the expected outcome of each row.
var table = tableRows()

func tableRows() []tableRow {
	at := func(stages ...mail.Stage) []mail.Stage { return stages }
	var (
		opening = at(mail.StageConnect, mail.StageTLS, mail.StageGreeting, mail.StageEHLO, mail.StageAuth)
		auth    = at(mail.StageAuth)
		atMail  = at(mail.StageMail)
		rcpt    = at(mail.StageRcpt)
		data    = at(mail.StageData)
		body    = at(mail.StageBody)
		dot     = at(mail.StageDot)

		address = slices.Concat(atMail, rcpt)
		content = slices.Concat(data, body)
		message = slices.Concat(data, body, dot)
	)
	var (
		goOn      = verdict{}
		delivered = verdict{class: mail.Delivered}
		// A fault of the message: temporary, permanent, or unknown.
		deferred     = verdict{class: mail.Deferred}
		deferredGone = verdict{class: mail.Deferred, gone: true}
		failed       = verdict{class: mail.Failed}
		failedGone   = verdict{class: mail.Failed, gone: true}
		uncertain    = verdict{class: mail.Uncertain, gone: true}
		// Once more, uncounted.
		nextOne      = verdict{class: mail.Pending}
		plainMail    = verdict{class: mail.Failed, again: withoutParams}
		freshSession = verdict{class: mail.Requeued, gone: true, again: onNewSession}
		// A fault of the session or the relay: nothing is counted.
		lostSession   = verdict{class: mail.Requeued, gone: true}
		fewerSessions = verdict{class: mail.Requeued, gone: true, trouble: crowded}
		slowDown      = verdict{class: mail.Requeued, trouble: throttled}
		slowDownGone  = verdict{class: mail.Requeued, gone: true, trouble: throttled}
		overLimits    = verdict{class: mail.Requeued, trouble: exhausted}
		relayDown     = verdict{class: mail.Requeued, gone: true, trouble: down}
		alarm         = verdict{class: mail.Requeued, gone: true, trouble: alarming}
	)
	return []tableRow{
		// A session that was used before may be refused for itself: it was idle, or had as
		// many messages as the relay allows.
		{atMail, all(reused, refusal), freshSession},

		// Whatever was asked, the relay wants other credentials; or, if it has
		// accepted them, it does not want this sender, recipient or message.
		{opening, account, alarm}, // RFC 4954 sections 4 and 6
		{slices.Concat(address, message), all(account, untrusted), alarm},
		{slices.Concat(address, data, dot), account, deferred},
		{body, account, deferredGone},

		// Opening a session. No message is to blame for what goes wrong there.
		{auth, digit(5), alarm},            // RFC 4954 section 6
		{opening, digit(4), fewerSessions}, // RFC 5321 section 3.8
		{opening, anything, relayDown},     // RFC 5321 section 3.1; also no reply

		// Out of step: a hang-up, silence, 503, or a reply that does not fit the command.
		{address, all(outOfStep, reused), freshSession}, // nothing had begun yet
		{address, outOfStep, lostSession},               // RFC 5321 section 4.3.2
		{content, outOfStep, deferredGone},              // the message itself may be why
		{dot, outOfStep, uncertain},                     // RFC 1047: it may have been accepted

		// MAIL is for all recipients.
		{atMail, digit(2), goOn},                      // RFC 5321 section 3.3
		{atMail, code(421), fewerSessions},            // RFC 5321 section 3.8
		{atMail, all(code(452), excusable), slowDown}, // RFC 5321 section 4.2.3: no room

		// The relay asks for less, at whatever step. A flood is 4.7.28, says IANA's
		// registry; other 4.7.x are greylisting. If it closes too, nothing else is lost.
		{slices.Concat(address, message), wantsFewer, fewerSessions},
		{slices.Concat(address, message), all(wantsLess, code(421)), slowDownGone},
		{body, wantsLess, slowDownGone},
		{body, noRoom, slowDownGone},
		{slices.Concat(address, data, dot), wantsLess, slowDown}, // RFC 4954 section 6
		{rcpt, saysNoRoom, slowDown},                             // RFC 5321 section 4.2.3
		{slices.Concat(data, dot), noRoom, slowDown},             // RFC 5321 section 4.2.3

		{slices.Concat(atMail, dot), overLimit, overLimits},

		// It does not say so, but it wants AUTH.
		{slices.Concat(address, message), all(strange, unwelcome), alarm},

		{atMail, digit(4), deferred},                      // RFC 5321 section 4.2.1
		{atMail, all(withParams, ofParameter), plainMail}, // RFC 5321 section 4.1.1.11
		{atMail, digit(5), failed},                        // RFC 5321 section 4.2.1

		// RCPT is for one recipient, and the others go on.
		{rcpt, digit(2), goOn}, // RFC 5321 sections 3.4 (251) and 3.5.3 (252)
		{rcpt, code(421), lostSession},
		{rcpt, all(tooMany, notFirst), nextOne}, // RFC 5321 section 4.5.3.1.10
		{rcpt, tooMany, deferred},               // else it would never end
		{rcpt, digit(4), deferred},              // RFC 5321 section 4.2.1
		{rcpt, digit(5), failed},                // RFC 5321 section 4.2.1

		// DATA, an early reply to the body, and the reply to the dot are for those
		// recipients who were accepted.
		{data, code(354), goOn},            // RFC 5321 section 4.1.1.4
		{message, code(421), deferredGone}, // RFC 5321 section 3.8: the relay closes
		{body, digit(4), deferredGone},     // the relay would read the rest of the body as commands
		{body, digit(5), failedGone},       // the same
		{message, digit(4), deferred},      // RFC 5321 section 4.2.1
		{message, digit(5), failed},        // RFC 5321 section 4.2.1
		{dot, digit(2), delivered},         // RFC 5321 section 4.2.5: the relay answers for it
	}
}

// Conditions on an answer.

func anything(answer) bool     { return true }
func reused(a answer) bool     { return a.reused }
func refusal(a answer) bool    { return digit(4)(a) || digit(5)(a) }
func notFirst(a answer) bool   { return !a.first }
func withParams(a answer) bool { return a.params }
func untrusted(a answer) bool  { return !a.trusted }
func strange(a answer) bool    { return a.stranger }
func excusable(a answer) bool  { return !a.blamed }

func account(a answer) bool { return wantsCredentials(a.reply.code) }

func all(conditions ...func(answer) bool) func(answer) bool {
	return func(a answer) bool {
		for _, c := range conditions {
			if !c(a) {
				return false
			}
		}
		return true
	}
}

func digit(n int) func(answer) bool { return func(a answer) bool { return a.reply.code/100 == n } }

func code(codes ...int) func(answer) bool {
	return func(a answer) bool { return slices.Contains(codes, a.reply.code) }
}

// tooMany recipients for one transaction. 552 is what older relays say instead
// of 452 (RFC 5321 section 4.5.3.1.10). 4.2.x is about the mailbox.
func tooMany(a answer) bool {
	code, enhanced := a.reply.code, a.reply.agreed()
	return code == 452 && !strings.HasPrefix(enhanced, "4.2.") || enhanced == "4.5.3" || code == 552 && (enhanced == "" || enhanced == "5.5.3")
}

// outOfStep reports that the reply cannot answer what was asked at that stage,
// or that there is none (RFC 5321 section 4.3.2).
func outOfStep(a answer) bool {
	first := a.reply.code / 100
	switch {
	case a.reply.code == 503 || ofAnother(a.reply.code):
		return true
	case a.stage == mail.StageData:
		return a.reply.code != 354 && first != 4 && first != 5
	case a.stage == mail.StageBody:
		return first != 4 && first != 5
	}
	return first != 2 && first != 4 && first != 5
}

// ofAnother reports a positive reply that RFC 5321 section 4.2.3 and RFC 4954 give
// to commands outside a transaction: a greeting, a farewell, a help text, an
// accepted password. Others are told by their first digit alone (RFC 5321 section
// 4.2.1).
func ofAnother(code int) bool {
	return slices.Contains([]int{211, 214, 220, 221, 235}, code)
}

// agreed is the enhanced code if it agrees with the reply's first digit.
func (r reply) agreed() string {
	if r.enhanced == "" || int(r.enhanced[0]-'0') != r.code/100 {
		return ""
	}
	return r.enhanced
}

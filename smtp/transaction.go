package smtp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
)

// groupSize is the number of commands sent in one write. The replies to them fit
// in any TCP window, so neither side waits for the other to read (RFC 2920 section
// 3.1).
const groupSize = 100

// transaction is one try at a delivery, on one session. It belongs to the
// delivery's goroutine.
type transaction struct {
	*session
	d      *delivery
	reused bool
	// size, eightBit: MAIL has SIZE, or BODY=8BITMIME.
	size, eightBit bool
	// accepted are the positions of the recipients that the relay accepted.
	accepted []int
	// refused: MAIL was refused, or all that is left of the transaction.
	refused bool
	// taken: the relay accepted a recipient behind a MAIL that it refused.
	taken bool
	// begun: the relay waits for the body.
	begun bool
	// over: the outcomes are settled, or the session is lost.
	over bool
	// unanswered: the session is lost because a reply did not come or did not fit.
	unanswered bool
	again      again
	mark       time.Time
}

// step is one command of the envelope.
type step struct {
	stage mail.Stage
	// at is the position of the recipient, for RCPT.
	at int
}

// run makes the delivery on s. It reports true if a new session is wanted: this one
// was found dead before it mattered, or MAIL cannot be said in it again. That is so
// at most once on a new session.
func (d *delivery) run(s *session) bool {
	stop := context.AfterFunc(d.ctx, func() { s.conn.Close() })
	defer func() {
		if !stop() {
			s.botched = true
		}
	}()
	if o := d.unfit(s.ext); o != nil {
		d.settle(*o)
		return false
	}
	// Opened before MAIL, so that a body that is not there costs no session.
	src, err := d.m.Body.Open()
	if err != nil {
		d.settle(localOutcome(mail.Requeued, "", fmt.Errorf("open the message: %w", err)))
		return false
	}
	defer src.Close()
	// What a probe opened and nobody has used is as good as new.
	reused := s.pooled && (s.used > 0 || time.Since(s.idleSince) >= listenAfter)
	t := d.begin(s, reused)
	s.used++
	d.tx.Session, d.tx.Use = s.id, s.used
	if !t.reused {
		d.tx.Connect = s.took
	}
	if err := s.ready(); err != nil {
		t.lost(step{stage: mail.StageMail}, err)
		return t.again == onNewSession
	}
	d.asked = time.Now()
	t.envelope()
	t.undo()
	if t.again == withoutParams {
		if t.botched || t.taken && s.ready() != nil {
			return true
		}
		t = d.begin(s, t.reused)
		t.envelope()
		t.undo()
	}
	t.refusedAtRcpt()
	if t.begun && !t.botched && len(t.accepted) > 0 {
		t.body(src)
	}
	return t.again == onNewSession
}

// begin decides on the parameters of MAIL.
func (d *delivery) begin(s *session, reused bool) transaction {
	return transaction{
		session: s, d: d, reused: reused,
		size:     s.ext.size && !d.plain && !s.quirks.has(sizes),
		eightBit: s.ext.eightBit && d.m.EightBit && (d.failEightBit || !d.plain && !s.quirks.has(bodies)),
	}
}

// undo ends a DATA that the relay accepted although nothing can follow. If it
// accepted a recipient too, a dot would send an empty message, so the session is
// closed instead.
func (t *transaction) undo() {
	switch {
	case t.begun && t.taken:
		t.botched = true
	case t.begun && len(t.accepted) == 0:
		t.loneDot()
	}
}

// envelope sends MAIL, RCPT and DATA, all at once if the relay allows it.
func (t *transaction) envelope() {
	t.d.restart()
	t.needsReset = true
	t.mark = time.Now()
	size := 1
	if t.ext.pipelining && !t.quirks.has(groups) {
		size = groupSize
	}
	for group := range slices.Chunk(t.steps(), size) {
		pointless := t.refused || group[0].stage == mail.StageData && len(t.accepted) == 0
		if t.over || pointless {
			return
		}
		err := t.write(t.lines(group), t.timeouts.Command)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errUnasked) {
			t.lost(group[0], err)
			return
		}
		// After another error the relay may have said why it closed: read on.
		for _, st := range group {
			r, err := t.read(t.timeouts.of(st.stage))
			if t.hear(st, r, err); t.over {
				if t.unanswered && len(group) > 1 && !t.reused {
					t.quirks.found(groups)
				}
				return
			}
		}
	}
}

func (t *transaction) steps() []step {
	all := make([]step, 0, len(t.d.to)+2)
	all = append(all, step{stage: mail.StageMail})
	for _, i := range t.d.to {
		all = append(all, step{mail.StageRcpt, i})
	}
	return append(all, step{stage: mail.StageData})
}

// lines writes the commands of a group. The addresses have been checked.
func (t *transaction) lines(group []step) []byte {
	b := t.out[:0]
	for _, st := range group {
		switch st.stage {
		case mail.StageMail:
			b = t.appendParams(appendPath(append(b, "MAIL FROM:"...), t.d.m.From))
		case mail.StageRcpt:
			b = appendPath(append(b, "RCPT TO:"...), t.d.m.Recipients[st.at].Address)
		default:
			b = append(b, "DATA"...)
		}
		b = append(b, "\r\n"...)
	}
	t.out = b
	return b
}

// appendParams adds the parameters that the message needs and the relay offers.
func (t *transaction) appendParams(b []byte) []byte {
	if t.size {
		b = strconv.AppendInt(append(b, " SIZE="...), t.d.m.Size, 10) // RFC 1870 section 6
	}
	if t.eightBit {
		b = append(b, " BODY=8BITMIME"...) // RFC 6152 section 2
	}
	if t.d.m.UTF8 {
		b = append(b, " SMTPUTF8"...) // RFC 6531 section 3.4
	}
	return b
}

// hear handles the reply to one command of the envelope.
func (t *transaction) hear(st step, r reply, err error) {
	settled := t.refused || st.stage == mail.StageData && len(t.accepted) == 0
	switch {
	case err != nil && settled:
		t.botched, t.over = true, true
		return
	case err != nil:
		t.lost(st, err)
		return
	}
	now := time.Now()
	t.metrics.took(string(st.stage), now.Sub(t.mark))
	t.mark = now
	if settled {
		// Nothing is left to decide, but undo has to know what the relay accepted.
		t.taken = t.taken || st.stage == mail.StageRcpt && r.positive()
		t.begun = st.stage == mail.StageData && r.code == 354
		t.over = r.code == 421
		t.botched = t.botched || t.over
		return
	}
	a := t.answer(st.stage, r)
	a.reused, a.first, a.params = t.reused, len(t.d.to) > 0 && st.at == t.d.to[0], t.size || t.eightBit && !t.d.failEightBit
	v := t.judge(a)
	if v.class != "" {
		t.conclude(v, st, r, nil)
		return
	}
	t.heard()
	t.d.reached, t.d.passed = st.stage, st.stage
	switch st.stage {
	case mail.StageMail:
		t.d.worked = true
		if t.d.plain {
			t.quirks.found(t.d.quirk)
		}
	case mail.StageRcpt:
		t.accepted = append(t.accepted, st.at)
	default:
		t.begun = true
	}
}

// answer is a reply, with what is known of the session and the message.
func (t *transaction) answer(stage mail.Stage, r reply) answer {
	return answer{
		stage: stage, reply: r, trusted: t.trusted, blamed: t.d.blamed,
		stranger: t.stranger() && (stage != mail.StageRcpt || len(t.accepted) == 0),
	}
}

// judge is what a reply means: what the first rule of the operator says that is for it, or
// else the table.
func (t *transaction) judge(a answer) verdict {
	if refusal(a) && t.d.rules != nil {
		if x := ruleFor(t.d.rules(), a); x != nil {
			return x.verdict(a)
		}
	}
	return judge(a)
}

// lost handles a step that got no reply, or none that makes sense.
func (t *transaction) lost(st step, err error) {
	if t.d.ctx.Err() != nil && st.stage != mail.StageDot {
		t.botched, t.over = true, true
		t.d.postpone(mail.StageLocal, fmt.Errorf("the transaction was broken off: %w", context.Cause(t.d.ctx)))
		return
	}
	if t.d.ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errLeft, context.Cause(t.d.ctx))
	}
	t.conclude(judge(answer{stage: st.stage, reused: t.reused}), st, reply{}, err)
}

// errLeft: we did not wait for the reply.
var errLeft = errors.New("the session was cut off before the relay replied")

// conclude notes what v means for the recipients concerned: at RCPT that one, and
// if the session is gone the others are pending; elsewhere all that are left.
func (t *transaction) conclude(v verdict, st step, r reply, err error) {
	v = t.d.inRun(v, st.stage, r)
	if t.again = v.again; v.again == withoutParams {
		t.d.plain, t.d.quirk = true, t.parameterRefused(r)
	}
	if v.gone {
		t.botched, t.over = true, true
	}
	if v.trouble != fine {
		t.d.fault = t.relayError(v, st, r)
	}
	if r.code != 0 && outOfStep(answer{stage: st.stage, reply: r}) {
		// Its words answer something else and would mislead.
		err = fmt.Errorf("%w: it answered %s", errOutOfStep, sayReply(r.code, r.enhanced, r.text()))
	}
	if t.unanswered = err != nil; !t.unanswered && v.trouble == fine {
		t.d.reached = st.stage
	}
	t.d.tx.Later = t.d.tx.Later || v.later
	o := withRule(t.d.withNote(replyOutcome(v.class, st.stage, r, err), t.ext), v.rule)
	switch {
	case v.again == onNewSession:
		// What the stale session said does not count.
	case st.stage == mail.StageRcpt:
		t.d.tx.Outcomes[st.at] = o
		if !v.gone {
			return
		}
		if v.trouble == fine {
			o.Class = mail.Pending
		}
		t.refused = true
		t.d.settle(o)
	default:
		t.refused = true
		t.d.settle(o)
	}
}

// parameterRefused is the parameter of MAIL that the reply refuses, as far as it says so.
func (t *transaction) parameterRefused(r reply) quirk {
	if !t.size || t.eightBit && bodyWords.MatchString(r.words()) {
		return bodies
	}
	return sizes
}

// relayError is what the reply to a command of a transaction says about the relay.
func (t *transaction) relayError(v verdict, st step, r reply) *Error {
	problem, hint := "asks for less mail", "check its limits, or lower SMTP_MAX_SESSIONS"
	switch v.trouble {
	case crowded:
		problem = "asks for fewer sessions"
		if r.code == 421 {
			problem, hint = "closes the session", "check the relay's log"
		}
	case exhausted:
		problem, hint = "says that a limit of the account is reached", "check its limits, or wait until it allows more"
	case refusing:
		problem, hint = "refuses one message after the other with the same reply", "see what the reply says of your account, ask the relay's operator, or say what it means by a rule (POSTRIDER_RELAYS; postrider relay check)"
	case heldByRule:
		problem, hint = "is held", "see what the reply says, or correct the rule in the file of POSTRIDER_RELAYS"
	case alarming:
		problem, hint = "wants other credentials", t.credential.correct
		switch {
		case !wantsCredentials(r.code):
			problem = "offers AUTH and refuses mail without"
		case t.user == "":
			problem = "wants credentials"
		}
	}
	if v.rule != nil {
		problem += " " + v.rule.said()
		if v.trouble == throttled {
			hint = "check its limits, lower SMTP_MAX_SESSIONS, or correct the rule in the file of POSTRIDER_RELAYS"
		}
	}
	e := newError(st.stage, v.trouble, problem, hint)
	if v.rule != nil {
		e.pause = v.rule.Pause
	}
	e.Relay, e.Class, e.Command = t.d.tx.Relay, v.class, strings.ToUpper(string(st.stage))
	return e.quote(r)
}

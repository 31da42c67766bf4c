package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	*flight
	d      *delivery
	reused bool
	// chunks: the body goes with BDAT; first is the line of it that goes before the rest.
	chunks bool
	first  []byte
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

// run makes the delivery in its place in a session. It reports true if it wants another
// one: the session was found dead or ended before it mattered, or MAIL cannot be said in
// it again. If nothing is before it on a new session, that is so at most once.
func (d *delivery) run(f *flight) bool {
	defer context.AfterFunc(d.ctx, func() { f.pool.interrupt(f) })()
	if o := d.unfit(f.ext); o != nil {
		d.settle(*o)
		return false
	}
	// Opened before MAIL, so that a body that is not there costs no session.
	body, err := d.m.Body.Open()
	if err != nil {
		d.settle(localOutcome(mail.Requeued, "", fmt.Errorf("open the message: %w", err)))
		return false
	}
	defer body.Close()
	var src io.Reader = body
	// What a probe opened and nobody has used is as good as new.
	reused := f.behind || f.pooled && (f.used > 0 || time.Since(f.idleSince) >= listenAfter)
	t := d.begin(f, reused)
	f.used++
	d.tx.Session, d.tx.Use = f.id, f.used
	if !t.reused {
		d.tx.Connect = f.took
	}
	if !f.behind && (!t.await() || !t.ready()) {
		return t.again == onNewSession
	}
	d.asked = time.Now()
	if t.chunks && !t.proven {
		src = t.takeFirst(src)
	}
	if t.atOnce() {
		t.whole(src)
		return t.again != never
	}
	t.envelope()
	t.undo()
	if t.again == withoutParams {
		if t.over || t.taken && !t.ready() {
			return true
		}
		first := t.first
		t = d.begin(f, t.reused)
		t.first, t.chunks = first, t.chunks && (first != nil || f.proven)
		t.envelope()
		t.undo()
	}
	t.d.refusedAtRcpt(t.session, len(t.accepted))
	if (t.begun || t.chunks) && !t.over && !t.refused && len(t.accepted) > 0 {
		t.body(src)
	}
	return t.again == onNewSession
}

// begin decides on the parameters of MAIL.
func (d *delivery) begin(f *flight, reused bool) transaction {
	return transaction{
		flight: f, d: d, reused: reused, chunks: f.chunks() && !d.byData,
		size:     f.ext.size && !d.plain && !f.quirks.has(sizes),
		eightBit: f.ext.eightBit && d.m.EightBit && (d.failEightBit || !d.plain && !f.quirks.has(bodies)),
	}
}

// undo ends a DATA that the relay accepted although nothing can follow: with a dot, for
// which it waits (RFC 2920 section 3.1). If it accepted a recipient too, a dot would send
// an empty message, so the session is closed instead.
func (t *transaction) undo() {
	switch {
	case !t.begun || len(t.accepted) > 0 && !t.taken:
		return
	case t.taken:
		t.retire()
		return
	}
	r, err := t.ask(".", t.timeouts.Dot)
	switch {
	case err != nil:
		t.fails(step{stage: mail.StageDot}, err)
	case r.code == 421:
		t.ends(errFarewell)
	}
}

// envelope sends MAIL, RCPT and DATA, all at once if the relay allows it. Behind other
// messages, whose transactions may fail, RSET comes first.
//
// If the body goes with BDAT, the first transaction of a session has BDAT and the first
// line of the body instead of DATA: a relay that does not know BDAT would take the body
// for commands.
func (t *transaction) envelope() {
	t.d.restart()
	size := 1
	if t.pipelines() {
		size = groupSize
	}
	for group := range slices.Chunk(t.d.steps(t.behind && !t.reads || t.learns(), t.chunks && t.proven), size) {
		pointless := t.refused || group[0].stage == mail.StageData && len(t.accepted) == 0
		if t.over || pointless {
			return
		}
		within := t.timeouts.Command
		if !t.reads {
			within = min(within, patience)
		}
		err := t.write(t.lines(group), within)
		if !t.reads && errors.Is(err, os.ErrDeadlineExceeded) && t.d.ctx.Err() == nil {
			t.leave()
		}
		if t.over || !t.await() {
			return
		}
		t.needsReset = true
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errUnasked) {
			t.lost(group[0], err)
			return
		}
		// After another error the relay may have said why it closed: read on.
		for _, st := range group {
			r, err := t.read(t.timeouts.of(st.stage))
			if t.hear(st, r, err); t.over {
				t.suspect(group, st)
				return
			}
		}
	}
}

// suspect notes that a relay cannot do groups, or BDAT, if it did not answer at that
// step. A session that was used before may simply have been closed.
func (t *transaction) suspect(group []step, st step) {
	if t.d.ctx.Err() != nil || !t.unanswered {
		return
	}
	if t.chunks && st.stage == mail.StageData && (!t.reused || !hungUp(t.end)) {
		t.quirks.found(chunks)
		return
	}
	switch {
	case len(group) == 1:
	case !t.reused:
		t.quirks.found(groups)
	case t.behind && !hungUp(t.end):
		t.quirks.doubt(groups)
	}
}

// steps are the commands of the envelope, with RSET before them or without, and with
// DATA behind them unless BDAT follows.
func (d *delivery) steps(reset, bdat bool) []step {
	all := make([]step, 0, len(d.to)+3)
	if reset {
		all = append(all, step{stage: stageReset})
	}
	all = append(all, step{stage: mail.StageMail})
	for _, i := range d.to {
		all = append(all, step{mail.StageRcpt, i})
	}
	if bdat {
		return all
	}
	return append(all, step{stage: mail.StageData})
}

// lines writes the commands of a group. The addresses have been checked.
func (t *transaction) lines(group []step) []byte {
	b := t.out[:0]
	for _, st := range group {
		switch st.stage {
		case stageReset:
			b = append(b, "RSET"...)
		case mail.StageMail:
			b = t.appendParams(appendPath(append(b, "MAIL FROM:"...), t.d.m.From))
		case mail.StageRcpt:
			b = appendPath(append(b, "RCPT TO:"...), t.d.m.Recipients[st.at].Address)
		default:
			if t.chunks {
				b = append(appendBDAT(b, int64(len(t.first)), ""), t.first...)
				continue
			}
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
	if err == nil && t.stray(st.stage, r) {
		err = errStray
	}
	reset := st.stage == stageReset
	if reset {
		st.stage = mail.StageMail
	}
	switch {
	case err != nil && settled:
		t.fails(st, err)
		return
	case err != nil:
		t.lost(st, err)
		return
	case reset && r.code != 421:
		return // if it was refused, MAIL is too
	}
	now := time.Now()
	t.metrics.took(string(st.stage), now.Sub(t.mark))
	t.mark = now
	if settled {
		t.notice(st, r)
		return
	}
	if t.chunks && st.stage == mail.StageData && t.probed(st, r) {
		return
	}
	a := t.answer(st.stage, r)
	a.reused, a.first, a.params = t.reused, len(t.d.to) > 0 && st.at == t.d.to[0], t.size || t.eightBit && !t.d.failEightBit
	if t.sent && outOfStep(a) && r.code != 503 {
		t.lost(st, fmt.Errorf("%w: it answered %s", errOutOfStep, sayReply(r.code, r.enhanced, r.text())))
		return
	}
	v := t.d.judge(a)
	if v.class != "" {
		t.conclude(v, st, r, nil)
		return
	}
	t.pool.hear()
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

// notice handles a reply when nothing is left to decide: undo has to know what the relay
// accepted.
func (t *transaction) notice(st step, r reply) {
	t.taken = t.taken || st.stage == mail.StageRcpt && r.positive()
	t.begun = st.stage == mail.StageData && r.code == 354 && !t.chunks
	switch {
	case r.code == 421:
		t.ends(errFarewell)
	case t.chunks && st.stage == mail.StageData && r.code != 503:
		t.unchunked(r) // and the line behind it has a reply of its own
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
func (d *delivery) judge(a answer) verdict {
	if refusal(a) && d.rules != nil {
		if x := ruleFor(d.rules(), a); x != nil {
			return x.verdict(a)
		}
	}
	return judge(a)
}

// lost handles a step that got no reply, or none that makes sense.
func (t *transaction) lost(st step, err error) {
	switch {
	case t.sent:
		st = step{stage: mail.StageDot}
	case t.chunks && st.stage == mail.StageData:
		st = step{stage: mail.StageMail} // no more than a line of the message was sent
	}
	if t.d.ctx.Err() != nil && !t.sent {
		t.retire()
		t.d.postpone(mail.StageLocal, fmt.Errorf("the transaction was broken off: %w", context.Cause(t.d.ctx)))
		return
	}
	switch {
	case t.d.ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", errLeft, context.Cause(t.d.ctx))
	case t.farewell(err):
		t.ends(errFarewell)
		t.again = onNewSession
		return
	default:
		t.breaks(st, err)
	}
	t.over = true
	t.conclude(judge(answer{stage: st.stage, reused: t.reused}), st, reply{}, err)
}

// errLeft: we did not wait for the reply.
var errLeft = errors.New("the session was cut off before the relay replied")

// conclude notes what v means for the recipients concerned: at RCPT that one, and
// if the session is gone the others are pending; elsewhere all that are left.
func (t *transaction) conclude(v verdict, st step, r reply, err error) {
	v = t.d.inRun(v, st.stage, r)
	if t.again = v.again; v.again == withoutParams {
		t.d.plain, t.d.quirk = true, parameterRefused(r, t.size, t.eightBit)
	}
	if v.gone {
		t.botched.Store(true)
		t.over = t.over || !t.sent // what was sent is answered
		if err == nil {
			t.dismissed = true
		}
	}
	if r.code == 421 {
		t.ends(errFarewell)
	}
	if v.trouble != fine {
		t.d.fault = t.relayError(t.d.tx.Relay, v, st, r)
	}
	if r.code != 0 && outOfStep(answer{stage: st.stage, reply: r}) {
		// Its words answer something else and would mislead.
		err = fmt.Errorf("%w: it answered %s", errOutOfStep, sayReply(r.code, r.enhanced, r.text()))
		if !t.sent || st.stage == mail.StageDot {
			t.breaks(st, err)
		}
	}
	if t.unanswered = err != nil; !t.unanswered && v.trouble == fine {
		t.d.reached = st.stage
	}
	t.d.tx.Later = t.d.tx.Later || v.later
	o := withRule(t.d.withNote(replyOutcome(v.class, st.stage, r, err), t.ext), v.rule)
	switch {
	case v.again == onNewSession:
		t.refused = true // what the stale session said does not count
	case st.stage == mail.StageRcpt:
		t.d.tx.Outcomes[st.at] = o
		if !v.gone || t.sent { // those that were sent too have replies of their own
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
func parameterRefused(r reply, size, eightBit bool) quirk {
	if !size || eightBit && bodyWords.MatchString(r.words()) {
		return bodies
	}
	return sizes
}

// relayError is what the reply to a command of a transaction says about the relay.
func (s *session) relayError(relay string, v verdict, st step, r reply) *Error {
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
		problem, hint = "wants other credentials", s.credential.correct
		switch {
		case !wantsCredentials(r.code):
			problem = "offers AUTH and refuses mail without"
		case s.user == "":
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
	e.Relay, e.Class, e.Command = relay, v.class, strings.ToUpper(string(st.stage))
	return e.quote(r)
}

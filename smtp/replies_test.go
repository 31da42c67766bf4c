package smtp

import (
	"bufio"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// row is a line of testdata/replies.txt.
type row struct {
	line                                         int
	stage, session, outcome, relay, after, reply string
}

func readRows(t *testing.T) []row {
	t.Helper()
	var rows []row
	for n, line := range tableLines(t, "testdata/replies.txt") {
		w := strings.Fields(line)
		if len(w) < 6 {
			t.Fatalf("line %d has %d columns", n, len(w))
		}
		sessions := []string{w[1]}
		if w[1] == "both" {
			sessions = []string{"fresh", "reused"}
		}
		for _, session := range sessions {
			for _, reply := range replies(strings.Join(w[5:], " ")) {
				rows = append(rows, row{n, w[0], session, w[2], w[3], w[4], reply})
			}
		}
	}
	return rows
}

// replies are those of a row: one reply, or each way of giving none.
func replies(reply string) []string {
	if reply == "NOREPLY" {
		return noReply
	}
	return []string{reply}
}

// lastLine is the line that counts.
func (r row) lastLine() string {
	return strings.TrimSpace(r.reply[strings.LastIndex(r.reply, `\`)+1:])
}

func (r row) answer() smtptest.Answer {
	if a, ok := r.noAnswer(); ok {
		return a
	}
	last := strings.HasPrefix(r.lastLine(), "421") && r.stage != "EARLY"
	return smtptest.Answer{Reply: strings.ReplaceAll(r.reply, ` \ `, "\r\n"), HangUp: last || r.stage == "BODY"}
}

// script gives the answer once: in the first session, to the message under test.
func (r row) script(given *atomic.Bool) smtptest.Script {
	a := r.answer()
	verb, nth := strings.CutSuffix(r.stage, "2")
	if verb == "EARLY" {
		verb = "BODY"
	}
	return func(st smtptest.Step) *smtptest.Answer {
		if r.stage == "HELO" && st.Verb == "EHLO" {
			return &smtptest.Answer{Reply: "502 5.5.1 no"}
		}
		if r.stage == "RSET" && st.Verb == "RCPT" && st.Message == 1 && st.Session == 1 {
			return &smtptest.Answer{Reply: "550 5.1.1 nobody, so RSET follows"}
		}
		here := st.Verb == verb && st.Session == 1 && (verb != "RCPT" || nth == (st.Rcpt == 2))
		if r.session == "reused" && r.stage != "RSET" {
			here = here && st.Message == 2
		}
		if !here || !given.CompareAndSwap(false, true) {
			return nil
		}
		return &a
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for _, r := range readRows(t) {
		if r.outcome == "never" {
			continue
		}
		for _, ext := range []string{"PIPELINING", "plain"} {
			t.Run("line "+strconv.Itoa(r.line)+" "+r.session+" "+ext+" "+r.reply, func(t *testing.T) {
				t.Parallel()
				if !r.slow() {
					r.check(t, ext, newListening)
					return
				}
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					r.check(t, ext, newPiped)
					if took := time.Since(start); took != r.deadline() {
						t.Errorf("took %s, want %s", took, r.deadline())
					}
				})
			})
		}
	}
}

// maker is newListening or newPiped.
type maker func(t *testing.T, change func(*Config), opts ...smtptest.Option) *bundle

func newListening(t *testing.T, change func(*Config), opts ...smtptest.Option) *bundle {
	t.Helper()
	return newBundle(t, smtptest.New(t, opts...), change)
}

// bundle is a relay for the row, with a fresh or a used session.
func (r row) bundle(t *testing.T, ext string, open maker, given *atomic.Bool) *bundle {
	t.Helper()
	offers := []string{ext, "SIZE"}
	if r.session == "offered" {
		offers = append(offers, "AUTH PLAIN")
	}
	opts := []smtptest.Option{smtptest.Extensions(offers...), smtptest.Scripted(r.script(given))}
	file := ""
	switch r.stage {
	case "AUTH":
		opts = append(opts, smtptest.Auth("user", "secret"))
	case "STARTTLS":
		ca := smtptest.NewAuthority(t)
		file = ca.File()
		opts = append(opts, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false))
	}
	b := open(t, func(c *Config) {
		c.CAFile = file
		switch r.stage {
		case "AUTH":
			// TestAuthNext has what follows if there is another mechanism.
			c.Username, c.Password, c.AuthWithoutTLS, c.Auth = "user", "secret", true, "plain"
		case "STARTTLS":
			urlOption("")(c)
		case "QUIT":
			// The slot stays in use until the session has quit.
			c.MaxSessions, c.MessagesPerSession = 1, map[string]int{"fresh": 1, "reused": 2}[r.session]
		}
	}, opts...)
	switch {
	case r.stage == "RSET":
		b.wantClasses(t, message(), "failed")
	case r.session == "reused":
		b.wantClasses(t, message(), "delivered")
	}
	return b
}

// long does not fit in the buffers of the network.
var long = strings.Repeat("0123456789abcde\r\n", 1<<20)

func (r row) check(t *testing.T, ext string, open maker) {
	t.Helper()
	var given atomic.Bool
	b := r.bundle(t, ext, open, &given)
	m := message("a@x.test", "b@x.test")
	if r.stage == "BODY" || r.stage == "EARLY" {
		m = mailWith(long, "a@x.test", "b@x.test")
	}
	before := strings.Count(b.server.Transcript(1), "C: .\r\n")
	tx := b.deliver(t, m)
	if r.stage != "QUIT" && !given.Load() {
		t.Fatal("the relay never gave its reply")
	}
	r.checkOutcomes(t, tx)
	r.checkRelay(t, b)
	if r.stage == "EARLY" && strings.Count(b.server.Transcript(1), "C: .\r\n") != before {
		t.Error("the dot was sent although the relay had replied")
	}
	if r.after == "-" {
		return
	}
	sessions := b.server.Sessions()
	if fresh := sessions == 1; fresh == (r.after == "new") {
		t.Errorf("%d sessions, want %s", sessions, r.after)
	}
	b.wantClasses(t, message(), "delivered")
	if fresh := b.server.Sessions() > sessions; fresh != (r.after == "closed") {
		t.Errorf("the next message went through a new session: %v, want %s", fresh, r.after)
	}
	if !given.Load() {
		t.Error("the relay never gave its reply")
	}
}

// checkOutcomes compares the recipients. A reply to one RCPT does not concern the
// other one; if the session is lost, the other one is pending.
func (r row) checkOutcomes(t *testing.T, tx mail.Transaction) {
	t.Helper()
	want := r.outcome + " " + r.outcome
	other := "delivered"
	switch {
	case r.relay == "alarm", r.relay == "down" && strings.HasPrefix(r.lastLine(), "421"):
		other = r.outcome
	case r.after == "closed":
		other = "pending"
	}
	switch r.stage {
	case "RCPT":
		want = r.outcome + " " + other
	case "RCPT2":
		want = other + " " + r.outcome
	}
	if got := classes(tx); got != want {
		t.Errorf("outcomes %q, want %q: %+v", got, want, tx.Outcomes)
	}
	if r.outcome == "delivered" && r.stage != "DOT" {
		return // the outcome is of the dot and not of this stage
	}
	w := strings.Fields(r.lastLine())
	first := w[0]
	if m := regexp.MustCompile(`^\d{3}`).FindString(first); m != "" && strings.Trim(first[3:], "0123456789") == first[3:] {
		first = m // the space is missing
	}
	code, err := strconv.Atoi(first)
	if err != nil || code < 200 || code > 599 {
		code = 0
	}
	o := tx.Outcomes[0]
	if r.stage == "RCPT2" {
		o = tx.Outcomes[1]
	}
	if o.Code != code {
		t.Errorf("code %d, want %d", o.Code, code)
	}
	if enhanced := ""; code != 0 {
		if strings.Count(w[1], ".") == 2 {
			enhanced = w[1]
		}
		if o.Enhanced != enhanced {
			t.Errorf("enhanced code %q, want %q", o.Enhanced, enhanced)
		}
	}
	// A connection that is reset at once may already fail at connect.
	early := r.stage == "CONNECT" && r.reply == "RESET" && o.Stage == mail.StageConnect
	if stage := r.recorded(); o.Stage != stage && !early {
		t.Errorf("stage %q, want %q", o.Stage, stage)
	}
}

// recorded is the stage as it is in records.
func (r row) recorded() mail.Stage {
	stage := map[string]mail.Stage{"CONNECT": "greeting", "RCPT2": "rcpt", "HELO": "ehlo", "STARTTLS": "tls", "EARLY": "body"}[r.stage]
	if stage == "" {
		stage = mail.Stage(strings.ToLower(r.stage))
	}
	return stage
}

func (r row) checkRelay(t *testing.T, b *bundle) {
	t.Helper()
	if up := r.relay == "up"; b.Up() != up {
		t.Fatalf("Up is %v, want %s\n%s", b.Up(), r.relay, b.log)
	}
	if warn := b.log.count("level=WARN"); (warn == 1) != (r.relay == "down") {
		t.Errorf("%d warnings, want relay %s\n%s", warn, r.relay, b.log)
	}
	if alarm := b.log.count("level=ERROR"); (alarm == 1) != (r.relay == "alarm") {
		t.Errorf("%d alarms, want relay %s\n%s", alarm, r.relay, b.log)
	}
}

// TestJudgeEverything tries every possible answer, and checks what must never be
// concluded from it.
func TestJudgeEverything(t *testing.T) {
	t.Parallel()
	before := map[mail.Stage]bool{mail.StageMail: true, mail.StageRcpt: true}
	after := map[mail.Stage]bool{mail.StageData: true, mail.StageBody: true, mail.StageDot: true}
	opening := []mail.Stage{mail.StageConnect, mail.StageTLS, mail.StageGreeting, mail.StageEHLO, mail.StageAuth}
	all := append(opening, mail.StageMail, mail.StageRcpt, mail.StageData, mail.StageBody, mail.StageDot)
	for _, stage := range all {
		for code := range 600 {
			for flags := range 64 {
				a := answer{
					stage: stage, reply: reply{code: code}, reused: flags&1 > 0, first: flags&2 > 0, params: flags&4 > 0, trusted: flags&8 > 0, blamed: flags&16 > 0, stranger: flags&32 > 0,
				}
				if rowFor(a).at == nil {
					t.Errorf("%s %d: in no row of the table", stage, code)
				}
				v := judge(a)
				checkEnds(t, a, v)
				is := func(bad bool, what string) {
					if bad {
						t.Errorf("%s %d %+v: %s: %+v", stage, code, a, what, v)
					}
				}
				is(v.class == mail.Delivered && (stage != mail.StageDot || code/100 != 2), "delivered without a 2yz to the dot")
				is(v.class == mail.Delivered && (code == 220 || code == 221), "delivered by a greeting or a farewell")
				is(v.class == mail.Uncertain && stage != mail.StageDot, "uncertain before the dot")
				is(v.class == mail.Failed && code/100 != 5, "failed without a 5yz")
				is(v.class == mail.Pending && (stage != mail.StageRcpt || a.first), "pending for ever")
				is(v.class.Counted() && !before[stage] && !after[stage], "counted before MAIL")
				is(v.again == onNewSession && (!a.reused || !before[stage]), "sent again at a cost")
				is(v.again == withoutParams && !a.params, "sent again as it was")
				checkTrouble(t, a, v, !before[stage] && !after[stage], after[stage])
			}
		}
	}
}

// checkTrouble: what is of the account, or of the relay, is not taken for the message's.
func checkTrouble(t *testing.T, a answer, v verdict, opening, after bool) {
	t.Helper()
	code := a.reply.code
	stranger := a.stranger && code == 554 && !opening
	account := wantsCredentials(code) && (!a.trusted || opening) || stranger
	switch {
	case v.trouble >= throttled && after && !wantsCredentials(code) && !asksForLess(code) && !stranger:
		t.Errorf("%+v: the relay's fault from DATA on: %+v", a, v)
	case a.stage != mail.StageAuth && v.again != onNewSession && account != (v.trouble == alarming):
		t.Errorf("%+v: the account's trouble or not: %+v", a, v)
	case wantsCredentials(code) && (v.class == mail.Failed || v.class == mail.Delivered):
		t.Errorf("%+v: dead or delivered for want of a password: %+v", a, v)
	}
}

// asksForLess are the codes that say nothing about the message at any step.
func asksForLess(code int) bool { return slices.Contains([]int{432, 452, 454}, code) }

// checkEnds: a session that is gone is not gone on with, and a message that is to blame is
// not excused for ever.
func checkEnds(t *testing.T, a answer, v verdict) {
	t.Helper()
	if a.reply.code == 421 && v.class != "" && !v.gone {
		t.Errorf("%+v: 421 and goes on: %+v", a, v)
	}
	if v.class == "" && v.gone {
		t.Errorf("%+v: goes on without a session: %+v", a, v)
	}
	if a.blamed && (v.trouble == throttled || v.trouble == exhausted) {
		t.Errorf("%+v: excused for ever: %+v", a, v)
	}
}

// TestEveryRowIsReached: each row of the table is reached by a line of
// testdata/replies.txt, so that no row can change unnoticed.
func TestEveryRowIsReached(t *testing.T) {
	t.Parallel()
	reached := map[*tableRow]bool{}
	for _, r := range readRows(t) {
		if r.outcome == "never" {
			continue
		}
		used := r.session == "reused"
		a := answer{stage: r.recorded(), reused: used, first: r.stage == "RCPT", params: true, trusted: used, stranger: r.session == "offered"}
		// If it cannot be read, it is no reply.
		a.reply, _ = readReply(bufio.NewReader(strings.NewReader(strings.ReplaceAll(r.reply, ` \ `, "\r\n")+"\r\n")), nil)
		reached[rowFor(a)] = true
	}
	reached[rowFor(answer{stage: mail.StageData, reply: reply{code: 354}})] = true // every other line
	reached[rowFor(answer{stage: mail.StageMail, reply: reply{code: 250}})] = true
	for i := range table {
		if !reached[&table[i]] {
			t.Errorf("row %d of the table, for %v, is reached by no line: %+v", i, table[i].at, table[i].means)
		}
	}
}

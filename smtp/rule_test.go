package smtp

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// always are rules that do not change.
func always(rules ...Rule) func(*Config) {
	return func(c *Config) { c.Rules = func() []Rule { return rules } }
}

// withShort adds short pauses.
func withShort(change func(*Config)) func(*Config) {
	return func(c *Config) { shortPauses(c); change(c) }
}

func words(s string) *regexp.Regexp { return regexp.MustCompile("(?i)" + s) }

// TestRuleIsFor: which replies a rule is for, field by field.
func TestRuleIsFor(t *testing.T) {
	t.Parallel()
	const dot = mail.StageDot
	for _, c := range []struct {
		name  string
		rule  Rule
		stage mail.Stage
		reply string
		want  bool
	}{
		{"code", Rule{Codes: []int{550}}, dot, "550 no", true},
		{"one of the codes", Rule{Codes: []int{552, 550}}, dot, "550 no", true},
		{"another code", Rule{Codes: []int{550}}, dot, "551 no", false},
		{"stage", Rule{Stages: []mail.Stage{dot}, Codes: []int{550}}, dot, "550 no", true},
		{"one of the stages", Rule{Stages: []mail.Stage{mail.StageRcpt, dot}, Codes: []int{550}}, mail.StageRcpt, "550 no", true},
		{"another stage", Rule{Stages: []mail.Stage{dot}, Codes: []int{550}}, mail.StageRcpt, "550 no", false},
		{"enhanced", Rule{Enhanced: "5.7.1"}, dot, "550 5.7.1 no", true},
		{"another enhanced", Rule{Enhanced: "5.7.1"}, dot, "550 5.7.10 no", false},
		{"no enhanced", Rule{Enhanced: "5.7.1"}, dot, "550 no", false},
		{"enhanced that does not agree", Rule{Enhanced: "5.7.1"}, dot, "450 5.7.1 no", false},
		{"subject", Rule{Enhanced: "5.7.x"}, dot, "550 5.7.26 no", true},
		{"another subject", Rule{Enhanced: "5.7.x"}, dot, "550 5.70.1 no", false},
		{"no subject", Rule{Enhanced: "5.7.x"}, dot, "550 no", false},
		{"text", Rule{Text: words("daily LIMIT")}, dot, "550 5.4.5 Daily limit reached", true},
		{"text over two lines", Rule{Text: words("daily limit")}, dot, "550-Your daily\r\n550 limit is reached", true},
		{"another text", Rule{Text: words("daily limit")}, dot, "550 hourly limit", false},
		{"the code is no text", Rule{Text: words("550|5.4.5")}, dot, "550 5.4.5 no", false},
		{"all of it", Rule{Codes: []int{550}, Enhanced: "5.4.5", Text: words("limit")}, dot, "550 5.4.5 limit", true},
		{"all but one", Rule{Codes: []int{550}, Enhanced: "5.4.5", Text: words("limit")}, dot, "550 5.4.5 no", false},
		{"positive", Rule{Text: words("limit")}, dot, "250 below the limit", false},
		{"intermediate", Rule{Text: words("limit")}, mail.StageData, "354 limit", false},
		{"of another command", Rule{Text: words("limit")}, dot, "503 limit", false},
		{"none", Rule{Text: words("")}, dot, "", false},
		{"opening", Rule{Text: words("limit")}, mail.StageGreeting, "450 limit", false},
		{"opening with its stage", Rule{Stages: []mail.Stage{mail.StageAuth}, Text: words("limit")}, mail.StageAuth, "450 limit", false},
	} {
		a := answer{stage: c.stage}
		if c.reply != "" {
			var err error
			if a.reply, err = readWhole(c.reply); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.rule.isFor(a); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestFirstRule: the first rule that matches counts.
func TestFirstRule(t *testing.T) {
	t.Parallel()
	rules := []Rule{{Codes: []int{551}}, {Text: words("no"), Note: "first"}, {Codes: []int{550}, Note: "second"}}
	a := answer{stage: mail.StageDot, reply: reply{code: 550, lines: []string{"no"}}}
	if got := ruleFor(rules, a); got != &rules[1] {
		t.Errorf("%+v", got)
	}
	if got := ruleFor(rules[:1], a); got != nil {
		t.Errorf("%+v", got)
	}
}

// TestRuleOutcomes: each outcome at each stage, with and without 421. The reply is one that
// the table judges otherwise.
func TestRuleOutcomes(t *testing.T) {
	t.Parallel()
	for _, stage := range RuleStages {
		for _, outcome := range RuleOutcomes {
			for _, code := range []int{421, 454, 554} {
				t.Run(fmt.Sprint(stage, outcome, code), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { ruleOutcome(t, stage, outcome, code) })
				})
			}
		}
	}
}

func ruleOutcome(t *testing.T, stage mail.Stage, outcome RuleOutcome, code int) {
	verb := strings.ToUpper(string(stage))
	gone := code == 421 || stage == mail.StageBody
	rule := Rule{Line: 3, Codes: []int{code}, Outcome: outcome, Note: "account's rate"}
	b := newPiped(t, always(rule), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != verb || st.Session != 1 || st.Message != 1 || st.Rcpt == 2 {
			return nil
		}
		return &smtptest.Answer{Reply: fmt.Sprint(code, " words of its own"), HangUp: gone}
	}))
	body := smallBody
	if stage == mail.StageBody { // so large that the relay can refuse it before the dot
		body = strings.Repeat("0123456789abcde\r\n", 1<<13)
	}
	tx := b.deliver(t, mailWith(body, "a@x.test", "b@x.test"))
	want := map[RuleOutcome]mail.Class{RuleDeferred: mail.Deferred, RuleFailed: mail.Failed}[outcome]
	if want == "" {
		want = mail.Requeued
	}
	if o := tx.Outcomes[0]; o.Class != want || o.Stage != stage || o.Code != code || o.Reply != "words of its own (rule: account's rate)" {
		t.Errorf("outcome %+v, want %s", o, want)
	}
	second := want
	stops := outcome == RuleThrottled || outcome == RuleHold
	switch {
	case stage == mail.StageRcpt && !gone:
		second = mail.Delivered
	case stage == mail.StageRcpt && !stops:
		second = mail.Pending
	}
	if o := tx.Outcomes[1]; o.Class != second {
		t.Errorf("the other recipient: %+v, want %s", o, second)
	}
	ruleStops(t, b, tx, outcome)
	if n := b.log.count("level=ERROR"); (n > 0) != (outcome == RuleHold) || n > 1 {
		t.Errorf("%d alarms:\n%s", n, b.log)
	}
	if s, _ := b.State(); (s.Fault != nil) != stops {
		t.Fatalf("state %+v", s)
	} else if stops {
		says := map[RuleOutcome]string{RuleThrottled: "asks for less mail", RuleHold: "is held"}[outcome]
		says += fmt.Sprint(" (rule: account's rate): ", code, " words of its own")
		if s.Fault.Detail() != says || s.Fault.Alarm() != (outcome == RuleHold) || b.log.count(says) != 1 {
			t.Errorf("fault %q, want %q\n%s", s.Fault.Detail(), says, b.log)
		}
		if advice := "or correct the rule in the file of POSTRIDER_RELAYS"; !strings.HasSuffix(s.Fault.Hint, advice) || b.log.count(advice) != 1 {
			t.Errorf("hint %q, want %q\n%s", s.Fault.Hint, advice, b.log)
		}
		return
	}
	b.wantClasses(t, message(), "delivered")
	if kept := b.server.Sessions() == 1; kept == gone {
		t.Errorf("the session was kept: %v", kept)
	}
}

// ruleStops checks that the relay is stopped by what stops it alone, and one message.
func ruleStops(t *testing.T, b *bundle, tx mail.Transaction, outcome RuleOutcome) {
	t.Helper()
	stops := outcome == RuleThrottled || outcome == RuleHold
	if tx.Later != (outcome == RuleRequeued) || tx.Down != stops || b.Up() == stops {
		t.Errorf("later %v, down %v, up %v", tx.Later, tx.Down, b.Up())
	}
}

// TestRefusingSaysRules: what is said of a relay that refuses all mail names the way to say
// what its words mean.
func TestRefusingSaysRules(t *testing.T) {
	t.Parallel()
	x := &transaction{d: &delivery{}}
	e := x.relayError(verdict{trouble: refusing}, step{stage: mail.StageDot}, reply{code: 550, lines: []string{"no"}})
	if !strings.HasSuffix(e.Hint, ", or say what it means by a rule (POSTRIDER_RELAYS; postrider relay check)") {
		t.Error(e.Hint)
	}
}

// TestRuleNote: without a note the rule's line is said, and the words stay bounded.
func TestRuleNote(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", mail.MaxReply)
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Line: 7}, " (rule in line 7)"},
		{Rule{Note: "ask\nann"}, " (rule: ask ann)"},
		{Rule{Note: long}, " (rule: " + long[:MaxRuleNote] + ")"},
	} {
		o := withRule(mail.Outcome{Reply: long}, &c.rule)
		if len(o.Reply) > mail.MaxReply || !strings.HasSuffix(o.Reply, c.want) || !strings.HasPrefix(o.Reply, "éé") {
			t.Errorf("%d bytes: %q", len(o.Reply), o.Reply)
		}
		if o := withRule(mail.Outcome{}, &c.rule); o.Reply != c.want[1:] {
			t.Errorf("of no words: %q", o.Reply)
		}
	}
}

// TestRuleHasNoReply: a rule for every reply does not change what it means that there is
// none, whatever is said at each step.
func TestRuleHasNoReply(t *testing.T) {
	t.Parallel()
	all := Rule{Text: words(""), Outcome: RuleFailed}
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		for _, a := range []smtptest.Answer{{HangUp: true}, {Stall: true}, {Reply: "nonsense"}, {Reply: "221 bye"}, {Reply: "503 5.5.1 what"}} {
			synctest.Test(t, func(t *testing.T) {
				outcome := func(change func(*Config)) string {
					b := newPiped(t, change, smtptest.On(verb, a))
					return classes(b.deliver(t, message()))
				}
				if got, want := outcome(always(all)), outcome(nil); got != want || got == "failed" {
					t.Errorf("%s %+v: %s, want %s", verb, a, got, want)
				}
			})
		}
	}
}

// limitFrom refuses all mail from the sixth message on, until that time.
func limitFrom(verb, reply string, back time.Time) (smtptest.Option, *atomic.Int64) {
	var asked, refused atomic.Int64
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != verb || asked.Add(1) <= 5 || time.Now().After(back) {
			return nil
		}
		refused.Add(1)
		return &smtptest.Answer{Reply: reply, Delay: time.Millisecond}
	}), &refused
}

// TestRuleForAccountsLimit: from the sixth message on a provider says its account's limit
// with 550 and in words that nobody but the operator knows. With one rule nothing dies, and
// what holds the mail is said once.
func TestRuleForAccountsLimit(t *testing.T) {
	t.Parallel()
	for _, outcome := range []RuleOutcome{RuleThrottled, RuleHold, RuleRequeued} {
		for _, sessions := range []int{1, 10} {
			t.Run(fmt.Sprint(outcome, sessions), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit, refused := limitFrom("DOT", "550 5.4.51 Contingent of your contract used up", time.Now().Add(2*time.Hour))
					rule := Rule{Stages: []mail.Stage{mail.StageDot}, Codes: []int{550}, Text: words("contingent"), Outcome: outcome, Note: "day's limit"}
					b := newPiped(t, withShort(func(c *Config) { always(rule)(c); c.MaxSessions = sessions }), limit)
					_, dead := b.work(t, many(30, "m", "a@x.test", "b@x.test", "c@x.test"))
					if len(dead) > 0 || b.server.Accepted() != 30 {
						t.Errorf("dead %v, %d accepted\n%s", dead, b.server.Accepted(), b.log)
					}
					most, alarms := int64(200), 0
					if outcome == RuleHold {
						alarms = 1
					}
					if outcome == RuleRequeued { // each message is tried at its own pauses
						most = 30 * 130
					}
					if n := refused.Load(); n > most || b.log.count("level=ERROR") != alarms {
						t.Errorf("asked %d times in two hours\n%s", n, b.log)
					}
				})
			})
		}
	}
}

// TestRuleForRuns: what a rule calls failed or deferred is so, however many there are, and
// is no sign that the relay refuses all mail, or all of a sender. Without a rule it is.
func TestRuleForRuns(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		for _, c := range []struct {
			reply   string
			outcome RuleOutcome
		}{
			{"550 5.7.1 go away", RuleFailed}, {"550 5.7.1 go away", RuleDeferred}, {"451 4.3.0 never", RuleFailed}, {"452 4.3.1 no room", RuleFailed}, {"530 5.7.0 who", RuleFailed},
		} {
			t.Run(verb+c.reply+string(c.outcome), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					rule := Rule{Text: words("go away|never|no room|who"), Outcome: c.outcome}
					b := newPiped(t, always(rule), smtptest.On(verb, smtptest.Answer{Reply: c.reply}))
					for _, m := range many(50, "m", "a@x.test") {
						b.wantClasses(t, m, string(c.outcome))
					}
					if s, _ := b.State(); s.Fault != nil || len(s.Held) > 0 || !b.Up() || b.log.count("level=WARN")+b.log.count("level=ERROR") > 0 {
						t.Errorf("%+v\n%s", s, b.log)
					}
				})
			})
		}
	}
}

// TestRuleBesideRuns: refusals that a rule judges do not add to a run of those that the
// table judges, nor end one.
func TestRuleBesideRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		b := newPiped(t, always(Rule{Text: words("mine"), Outcome: RuleFailed}), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb != "DOT" {
				return nil
			}
			if n.Add(1)%2 == 0 {
				return &smtptest.Answer{Reply: "550 5.7.0 mine"}
			}
			return &smtptest.Answer{Reply: unknown}
		}))
		want := []string{}
		for i := range runInARow {
			want = append(want, "failed", "failed")
			if i == runInARow-1 {
				want[2*i] = "requeued"
			}
		}
		for i, m := range many(2*runInARow-1, "m", "a@x.test") {
			b.wantClasses(t, m, want[i])
		}
	})
}

// TestRuleHold: the relay is held by a rule. The mail waits, one message at a time is tried
// at growing pauses, the first of which is the rule's, and mail that gets past the step
// releases all. What the relay accepts before that step does not.
func TestRuleHold(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 30 * time.Second, 2 * time.Minute} {
		t.Run(pause.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { ruleHolds(t, RuleHold, pause) })
			synctest.Test(t, func(t *testing.T) { ruleHolds(t, RuleThrottled, pause) })
		})
	}
}

func ruleHolds(t *testing.T, outcome RuleOutcome, pause time.Duration) {
	var tries []time.Time
	back := time.Now().Add(20 * time.Minute)
	b := newPiped(t, withShort(always(Rule{Codes: []int{550}, Outcome: outcome, Pause: pause})), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != "DOT" || time.Now().After(back) {
			return nil
		}
		tries = append(tries, time.Now())
		return &smtptest.Answer{Reply: "550 not now"}
	}))
	start := time.Now()
	for classes(b.deliver(t, message())) != "delivered" {
		if s, _ := b.State(); s.Fault == nil || s.Fault.Alarm() != (outcome == RuleHold) {
			t.Fatalf("state %+v", s)
		}
		if got := b.wantClasses(t, message("b@x.test"), "requeued"); !got.Down || !strings.Contains(got.Outcomes[0].Reply, "(rule in line 0)") {
			t.Errorf("another one meanwhile: %+v", got)
		}
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first, longest := time.Second, time.Minute
	if pause > 0 {
		first, longest = pause, max(longest, pause)
	}
	for i := range tries[1:] {
		full := min(first<<i, longest)
		least := full
		if pause == 0 && outcome == RuleHold { // with jitter
			least = full * 3 / 4
		}
		// A message that was refused lets others be tried before it.
		if gap := tries[i+1].Sub(tries[i]); gap < least || gap > full+2*yields+10*time.Millisecond {
			t.Errorf("pause %d is %s, want %s", i, gap, full)
		}
	}
	if s, _ := b.State(); s.Fault != nil || time.Since(start) > 20*time.Minute+longest+time.Second {
		t.Errorf("after %s: %+v", time.Since(start), s)
	}
	b.wantClasses(t, message(), "delivered")
	if n := b.log.count("sending resumes"); n != 1 {
		t.Errorf("resumed %d times\n%s", n, b.log)
	}
	// The next time the first pause is the rule's again.
	back = time.Now().Add(time.Millisecond)
	start = time.Now()
	b.wantClasses(t, message(), "requeued")
	if err := b.Wait(t.Context()); err != nil || time.Since(start) > first || time.Since(start) < first*3/4 {
		t.Errorf("the second time the pause is %s, want %s", time.Since(start), first)
	}
}

// TestRuleHoldPastItsStep: mail is refused at RCPT. What gets past MAIL does not release
// the relay, an accepted recipient does.
func TestRuleHoldPastItsStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, withShort(always(Rule{Codes: []int{550}, Outcome: RuleHold})), smtptest.ByAddress())
		b.wantClasses(t, message("550@x.test"), "requeued")
		held := func(want bool) {
			t.Helper()
			synctest.Wait()
			if s, _ := b.State(); (s.Fault != nil) != want {
				t.Errorf("state %+v, want held: %v", s, want)
			}
		}
		held(true)
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantClasses(t, message("451@x.test"), "deferred")
		held(true)
		b.wantClasses(t, message("451@x.test", "b@x.test"), "deferred delivered")
		held(false)
	})
}

// TestRuleBlames: one message alone makes the relay say what a rule calls throttled or
// hold, while others are accepted. At last it is put off alone, and is still not counted.
func TestRuleBlames(t *testing.T) {
	t.Parallel()
	for _, outcome := range []RuleOutcome{RuleThrottled, RuleHold} {
		synctest.Test(t, func(t *testing.T) {
			b := newPiped(t, withShort(always(Rule{Codes: []int{550}, Outcome: outcome})), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
				if st.Verb == "DOT" && strings.Contains(string(st.Data), "bad") {
					return &smtptest.Answer{Reply: "550 not now"}
				}
				return nil
			}))
			bad := mailWith("Subject: bad\r\n\r\n")
			bad.Key = "bad"
			for range excused {
				if tx := b.wantClasses(t, bad, "requeued"); !tx.Down || tx.Later {
					t.Errorf("%+v", tx)
				}
				if err := b.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.wantClasses(t, message(), "delivered")
			}
			for range 50 {
				if tx := b.wantClasses(t, bad, "requeued"); tx.Down || !tx.Later || !b.Up() {
					t.Fatalf("%+v", tx)
				}
			}
		})
	}
}

// TestRulesChange: the rules of the moment of a reply count, in a session that is open too.
func TestRulesChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var rules atomic.Pointer[[]Rule]
		rules.Store(&[]Rule{})
		b := newPiped(t, func(c *Config) { c.Rules = func() []Rule { return *rules.Load() } }, smtptest.On("RCPT", smtptest.Answer{Reply: "550 5.1.1 nobody"}))
		for _, c := range []struct {
			rules []Rule
			want  string
		}{
			{nil, "failed"},
			{[]Rule{{Codes: []int{550}, Outcome: RuleDeferred}}, "deferred"},
			{[]Rule{{Codes: []int{550}, Outcome: RuleRequeued}}, "requeued"},
			{nil, "failed"},
		} {
			rules.Store(&c.rules)
			b.wantClasses(t, message(), c.want)
		}
		if n := b.server.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// TestExplain: what a reply would mean, for people.
func TestExplain(t *testing.T) {
	t.Parallel()
	rules := []Rule{
		{Line: 2, Codes: []int{454}, Outcome: RuleThrottled}, {Line: 3, Codes: []int{554}, Outcome: RuleHold}, {Line: 4, Codes: []int{450}, Outcome: RuleFailed},
		{Line: 5, Codes: []int{555}, Outcome: RuleRequeued}, {Line: 6, Codes: []int{556}, Outcome: RuleDeferred},
	}
	for _, c := range []struct {
		stage mail.Stage
		reply string
		line  int
		want  string
	}{
		{mail.StageDot, "454 x", 2, "throttled: all mail pauses"},
		{mail.StageDot, "554 x", 3, "hold: the relay is held"},
		{mail.StageDot, "450 x", 4, "failed, for good"},
		{mail.StageDot, "555 x", 5, "requeued: this message alone"},
		{mail.StageDot, "556 x", 6, "deferred: tried again later"},
		{mail.StageRcpt, "550 5.1.1 nobody", 0, "failed, for good, unless"},
		{mail.StageDot, "550-5.4.5 daily\n550 5.4.5 limit\n", 0, "throttled: a limit of the account"},
		{mail.StageDot, "452 4.3.1 no room", 0, "throttled: all mail pauses"},
		{mail.StageDot, "451 greylisted", 0, "deferred: "},
		{mail.StageMail, "421 closing", 0, "requeued, not counted: the relay asks for fewer"},
		{mail.StageRcpt, "421 closing", 0, "requeued, not counted"},
		{mail.StageDot, "503 what", 0, "uncertain: "},
		{mail.StageDot, "250 2.0.0 ok", 0, "accepted"},
		{mail.StageData, "354 go on", 0, "accepted"},
	} {
		got, err := Explain(rules, c.stage, c.reply)
		line := 0
		if got.Rule != nil {
			line = got.Rule.Line
		}
		if err != nil || line != c.line || !strings.HasPrefix(got.Outcome, c.want) {
			t.Errorf("%s %q: %+v, %v", c.stage, c.reply, got, err)
		}
	}
	for _, bad := range []string{"", "x", "55", "650 x", "550-x", "550 x\n550 y", "550 x\ny", strings.Repeat("5", 5000)} {
		if _, err := Explain(nil, mail.StageDot, bad); err == nil || errors.Is(err, errOutOfStep) || len(err.Error()) > 200 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestRulesInEveryWord: the list of outcomes is whole.
func TestRulesInEveryWord(t *testing.T) {
	t.Parallel()
	for _, o := range RuleOutcomes {
		x := Rule{Outcome: o}
		v := x.verdict(answer{stage: mail.StageDot, reply: reply{code: 550}})
		if s := inWords(v); !strings.HasPrefix(s, string(o)) {
			t.Errorf("%s is explained as %s", o, s)
		}
		if i := slices.Index(RuleOutcomes, o); slices.Contains(RuleOutcomes[:i], o) {
			t.Errorf("%s is there twice", o)
		}
	}
}

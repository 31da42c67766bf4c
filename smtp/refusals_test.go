package smtp

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// unknown is a refusal in words that say nothing about the account.
const unknown = "550 5.7.0 Mailbox policy: message refused"

// many are n messages of these senders by turns.
func many(n int, id string, from ...string) (all []mail.Message) {
	return manyWith(smallBody, n, id, from...)
}

func manyWith(body string, n int, id string, from ...string) (all []mail.Message) {
	for i := range n {
		m := mailWith(body, fmt.Sprintf("to@%d.test", i%3))
		m.ID, m.From = fmt.Sprint(id, i), from[i%len(from)]
		all = append(all, m)
	}
	return all
}

// named are the ids in the alarms of runs.
func (b *bundle) named() (all []string) {
	for _, m := range regexp.MustCompile(`postrider dead replay ([^"]*)"`).FindAllStringSubmatch(b.log.String(), -1) {
		all = append(all, strings.Fields(m[1])...)
	}
	slices.Sort(all)
	return all
}

// TestRefusesAll: from the sixth message on a relay refuses them all with one reply in
// words of its own. Four are dead before that is known, the others wait, and are
// delivered when the relay accepts mail again. The log names the dead, and the relay, or
// the sender if all were of one.
func TestRefusesAll(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "BODY", "DOT"} {
		for _, sessions := range []int{1, 10} {
			for _, senders := range [][]string{{"a@x.test"}, {"a@x.test", "b@x.test", "c@x.test"}} {
				t.Run(fmt.Sprint(verb, sessions, len(senders)), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { refusesAll(t, verb, sessions, senders) })
				})
			}
		}
	}
}

func refusesAll(t *testing.T, verb string, sessions int, senders []string) {
	var asked, refused atomic.Int64
	back := time.Now().Add(2 * time.Hour)
	b := newPiped(t, func(c *Config) { shortPauses(c); c.MaxSessions = sessions }, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != verb || asked.Add(1) <= 5 || time.Now().After(back) {
			return nil
		}
		return &smtptest.Answer{Reply: fmt.Sprintf("%s, id %x", unknown, 1<<40+refused.Add(1)), Delay: time.Millisecond, HangUp: verb == "BODY"}
	}))
	body := smallBody
	if verb == "BODY" { // so large that the relay can refuse it before the dot
		body = strings.Repeat("0123456789abcde\r\n", 1<<13)
	}
	_, dead := b.work(t, manyWith(body, 30, "m", senders...))
	// What the relay accepts after refusing others was in flight beside them. A run at RCPT
	// needs three domains, which may take a few more.
	most := 4 + sessions - 1
	if verb == "RCPT" {
		most += 6
	}
	if len(dead) < 4 || len(dead) > most || b.server.Accepted() != 30-len(dead) {
		t.Errorf("%d dead, want up to %d; %d accepted\n%s", len(dead), most, b.server.Accepted(), b.log)
	}
	if n := refused.Load(); n > int64(200*len(senders)) {
		t.Errorf("asked %d times in two hours", n)
	}
	says, over := "refuses mail of a@x.test: ", "accepts mail of a@x.test again"
	if len(senders) > 1 {
		says, over = "refuses one message after the other", "accepts mail again: sending resumes"
	}
	// Of several senders one may be held before the relay is.
	if e, s, i := b.log.count("level=ERROR"), b.log.count(says), b.log.count(over); e > min(len(senders), 2) || s != 1 || i != 1 {
		t.Errorf("%d alarms, %d of that kind, resumed %d times:\n%s", e, s, i, b.log)
	}
	slices.Sort(dead)
	if named := b.named(); !slices.Equal(named, dead) {
		t.Errorf("the log names %v, dead are %v:\n%s", named, dead, b.log)
	}
}

// TestRefusesASender: a relay refuses all mail of one sender, and later of two. Mail of
// others goes at once, or as soon as it had its turn. Mail of these two is not tried in
// vain more than their pauses allow, and goes when the relay accepts it.
func TestRefusesASender(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DOT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { refusesASender(t, verb) })
		})
	}
}

func refusesASender(t *testing.T, verb string) {
	var refused atomic.Int64
	back := time.Now().Add(time.Hour)
	b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == verb && strings.HasPrefix(st.From, "bad") && time.Now().Before(back) {
			refused.Add(1)
			return &smtptest.Answer{Reply: unknown}
		}
		return nil
	}))
	died := make(chan int, 2)
	work := func(id, from string) {
		_, dead := b.work(t, many(60, id, from))
		died <- len(dead)
	}
	go work("bad", "bad@x.test")
	synctest.Wait()
	good := func(within time.Duration) {
		t.Helper()
		start := time.Now()
		if _, dead := b.work(t, many(20, "good", "a@x.test", "b@x.test", "c@x.test")); len(dead) > 0 || time.Since(start) > within {
			t.Errorf("good mail took %s, failed: %v\n%s", time.Since(start), dead, b.log)
		}
	}
	good(100 * time.Millisecond)
	if s, _ := b.State(); s.Fault != nil || len(s.Held) != 1 || s.Held[0] != "bad@x.test: "+unknown {
		t.Errorf("state %+v", s)
	}
	tx := b.wantClasses(t, many(1, "bad", "bad@x.test")[0], "requeued")
	if !tx.Later || tx.Down || tx.Session != "" || !strings.Contains(tx.Outcomes[0].Reply, "refuses mail of bad@x.test: "+unknown) {
		t.Errorf("another one of that sender: %+v", tx)
	}
	go work("worse", "bad2@x.test")
	synctest.Wait()
	good(3 * time.Second)
	dead := <-died + <-died
	most := 8
	if verb == "RCPT" { // the third domain may come late
		most = 14
	}
	if took := time.Since(back); dead > most || took > 3*time.Minute || refused.Load() > 250 {
		t.Errorf("%d dead, the last went %s after the first could, %d refused\n%s", dead, took, refused.Load(), b.log)
	}
	if n := b.log.count("level=ERROR"); n > 2 {
		t.Errorf("%d alarms\n%s", n, b.log)
	}
}

// TestOneBadMessage: a relay refuses single messages of a sender for their content. Five in
// a row have its mail put off. The first that is accepted as a probe ends that, and from
// then on such a reply is a temporary one: each bad message has its own end.
func TestOneBadMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" && strings.Contains(string(st.Data), "bad") {
				return &smtptest.Answer{Reply: unknown}
			}
			return nil
		}))
		bad := func(key string) mail.Message {
			m := mailWith("Subject: bad\r\n\r\n")
			m.ID, m.Key = "invoice", key
			return m
		}
		for i := range 4 {
			b.wantClasses(t, bad(fmt.Sprint(i)), "failed")
			b.wantClasses(t, bad(fmt.Sprint(i)), "failed") // its other recipients count once
		}
		if tx := b.wantClasses(t, bad("x"), "requeued"); !tx.Later || tx.Outcomes[0].Code != 550 || !b.Up() {
			t.Errorf("%+v", tx)
		}
		if named := b.named(); len(named) != 1 || named[0] != "invoice" {
			t.Errorf("named %v", named)
		}
		b.wantClasses(t, message(), "requeued")
		time.Sleep(time.Second)
		b.wantClasses(t, bad("x"), "requeued")
		time.Sleep(2 * time.Second)
		b.wantClasses(t, message(), "delivered")
		if tx := b.wantClasses(t, bad("x"), "deferred"); tx.Later || tx.Outcomes[0].Code != 550 {
			t.Errorf("%+v", tx)
		}
		b.wantClasses(t, message(), "delivered")
	})
}

// TestTrialOfSenders: a relay refuses all mail but that of one sender, whose message waits
// behind many of others in all slots. It has its turn as soon as up to ten others had
// theirs. Then the relay is not held any more.
func TestTrialOfSenders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" && st.From != "good@x.test" {
				return &smtptest.Answer{Reply: unknown}
			}
			return nil
		}))
		from := []string{"0@x.test", "1@x.test", "2@x.test", "3@x.test", "4@x.test"}
		for _, m := range many(5, "bad", from...) {
			b.deliver(t, m)
		}
		synctest.Wait()
		s, _ := b.State()
		if s.Fault == nil || !s.Fault.Alarm() || !strings.Contains(s.Fault.Detail(), "Mailbox policy") || s.Next.IsZero() {
			t.Errorf("state %+v", s)
		}
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s, _ := b.State(); !s.Trial || s.Fault == nil {
			t.Errorf("state %+v: a session alone ends it", s)
		}
		start := time.Now()
		var later atomic.Int64
		for _, m := range many(60, "bad", from...) {
			go func() {
				if b.Deliver(t.Context(), m).Later {
					later.Add(1)
				}
			}()
		}
		time.Sleep(yields / 2) // the body of each takes a millisecond
		b.wantClasses(t, many(1, "good", "good@x.test")[0], "delivered")
		if synctest.Wait(); !b.Up() || time.Since(start) > 2*yields || later.Load() < 45 {
			t.Errorf("after %s: up %v, %d put off\n%s", time.Since(start), b.Up(), later.Load(), b.log)
		}
		if s, _ := b.State(); s.Fault != nil {
			t.Errorf("still held: %+v", s)
		}
	})
}

// TestRefusals: what becomes of each message that is refused. In a script "Ax" is mail of
// sender A that is refused with a reply x, a capital one without an enhanced code; "+A" is
// mail of A that is accepted, "-A" if it was in flight before A was held, "~9" are nine seconds; "Ax@d" is refused at RCPT for a
// recipient in domain d, "+A@" is a recipient that is accepted, and "Ax!" has the turn of
// a trial. The circuit opens when the relay is held, "=" closes it.
//
// Rulings: . its own, s suspected, h its sender is held, R the relay is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	row := func(n int, what ...string) string { return strings.Repeat(strings.Join(what, " ")+" ", n) }
	var byTurns []string
	for i := range 50 {
		byTurns = append(byTurns, string(rune('A'+i))+"x")
		if i%2 > 0 {
			byTurns = append(byTurns, "+z")
		}
	}
	several := []string{"Ax", "By", "Cx", "Dy", "Ex", "Fy", "Gx", "Hy", "Ix", "Jy"}
	for _, c := range []struct{ name, script, want string }{
		{"four in a row", "Ax Ax Ax Ax +A Ax Ax Ax Ax", "........"},
		{"a sender", row(7, "Ax"), "....hhh"},
		{"several senders", "Ax Bx Cx Dx Ex Ax", "....RR"},
		{"two of them", "Ax Ax Ax Ax Bx", "....R"},
		{"another meets it", row(5, "Ax") + "Bx", "....hR"},
		{"another meets another", row(5, "Ax") + "By", "....h."},
		{"another meets it behind another", row(5, "Ax") + "By Bx", "....h.R"},
		{"another after an acceptance", row(5, "Ax") + "+B Bx Bx Ax", "....h..h"},
		{"what was in flight does not release it", row(5, "Ax") + "-A Ax Bx", "....hh."},
		{"others do not release it", row(5, "Ax") + "+B Ax +A Ax", "....hhs"},
		{"a sender among others", row(7, "Ax", "+B"), "....hhh"},
		{"two senders among others", row(6, "Ax", "Bx", "+C"), "........hhhh"},
		{"one of them among others", row(5, "Ax", "+C") + "Ax Bx +C Bx Bx +C Bx", "....hh...."},
		{"accepted mail of its own", row(4, "Ax", "+B") + "+A" + row(4, " Ax", "+B"), "........"},
		{"all, and then a sender among others", "Ax Ax +C Bx Bx Ax Ax Bx", "......R"},
		{"not in a row", row(6, "Ax", "Ax", "Ax", "AY"), times(24, ".")},
		{"many in a minute", row(6, "Ax", "Ax", "Ax", "AY") + "Ax Ax", times(24, ".") + ".h"},
		{"not in a minute", row(6, "Ax", "Ax", "Ax", "AY", "~20") + "Ax Ax", times(24, ".") + ".."},
		{"other words", row(9, "Ax", "Ay") + "Ax Ay Az", times(19, ".") + "hh"},
		{"other words of several", row(2, several...) + "Az", times(19, ".") + "RR"},
		{"other words without 5.7.x", row(9, "AX", "AY") + "AX AY AX", "....................."},
		{"a temporary reply between", "Ax Ax Ax Ax A. Ax", "......"},

		{"a sender among many that are deferred", row(5, "Ax", row(30, "B.", "C."), "+D"), strings.Repeat("."+times(60, "."), 4) + "h" + times(60, ".")},
		{"fifty senders by turns, among others", row(5, byTurns...), times(200, ".") + times(50, "h")},

		{"suspect", row(5, "Ax") + "+A" + row(19, " Ax") + "+B" + row(21, " Ax"), "....h" + times(19, "s") + times(21, "h")},
		{"suspect for an hour", row(5, "Ax") + "+A ~3000 Ax ~3000 Ax ~3601 Ax", "....hss."},
		{"suspect in other words", row(2, several...) + "= Az", times(19, ".") + "Rs"},
		{"suspect for others", "Ax Bx Cx Dx Ex = Fx Gy", "....Rs."},

		{"tried by turns", "Ax Bx Cx Dx Ex Fx! Gx! Hy! Ix! Jx! Kx! Lx! Mx! Nx! Ox! Px! Fx Qx", "....R" + "hhhhhhhhhRhhR"},
		{"nothing dies on trial of its own fault", "Ax Bx Cx Dx Ex F.!", "....R."},

		{"at RCPT", "Ax@a Bx@b Cx@c Dx@a Ex@a", "....R"},
		{"at RCPT of a sender", "Ax@a Ax@b Ax@c Ax@a Ax@a Ax@a", "....hh"},
		{"at RCPT of two domains", row(20, "Ax@a", "Bx@b"), times(40, ".")},
		{"at RCPT with an accepted one", "Ax@a Bx@b Cx@c Dx@a +X@ Ex@a", "....."},
		{"an accepted recipient says nothing of the dot", "Ax Bx Cx Dx +X@ Ex", "....R"},
		{"an accepted recipient frees the sender", row(2, "Ax@a", "Ax@b", "Ax@c") + "+A@ Ax@a", "....hhs"},
	} {
		if got := play(t, c.script); got != c.want {
			t.Errorf("%s: %s\n got %q\nwant %q", c.name, c.script, got, c.want)
		}
	}
}

// TestNamesTheDead: an acceptance that is noted after a refusal may have come before it.
// What died then is named with the run that comes; what died before mail that was sent later
// was accepted, is not.
func TestNamesTheDead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accepted string
		asked    time.Duration
		run      string
		want     string
	}{
		"nothing":                     {"", 0, "aaaa", "early 0 1 2"},
		"sent before":                 {"a", -1, "aaaaa", "early 0 1 2 3"},
		"sent after":                  {"a", 1, "aaaaa", "0 1 2 3"},
		"of another":                  {"b", 1, "aaaa", "early 0 1 2"},
		"all, own sent before":        {"a", -1, "cdefg", "early 0 1 2 3"},
		"all, own sent after":         {"a", 1, "cdefg", "0 1 2 3"},
		"all, of another sent before": {"b", -1, "cdefg", "early 0 1 2 3"},
		"all, of another sent after":  {"b", 1, "cdefg", "0 1 2 3"},
	} {
		r := refusals{min: time.Second, max: time.Minute}
		at := time.Now()
		met := func(id, from string) {
			r.met(refused{at: at, key: id, id: id, from: from, like: likeness{code: 550}, dead: true}, false)
		}
		met("early", "a")
		if c.accepted != "" {
			r.accepted(c.accepted, "", false, at.Add(c.asked), at)
		}
		for i, from := range c.run {
			met(fmt.Sprint(i), string(from))
		}
		if got := strings.Join(r.dead, " "); got != c.want {
			t.Errorf("%s: named %s, want %s", name, got, c.want)
		}
	}
}

// TestHoldWithoutMail: a sender is told of while its mail waits. It stays held.
func TestHoldWithoutMail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" {
				return &smtptest.Answer{Reply: unknown}
			}
			return nil
		}))
		for _, m := range many(5, "m", "a@x.test") {
			b.deliver(t, m)
		}
		told := func() bool { s, _ := b.State(); return len(s.Held) > 0 }
		if !told() {
			t.Fatal("the sender is not held")
		}
		time.Sleep(askedWithin * time.Minute)
		if told() {
			t.Error("it is told of, and no mail of it is there")
		}
		b.wantClasses(t, many(1, "n", "a@x.test")[0], "requeued")
		if !told() {
			t.Error("it is not told of, and mail of it waits")
		}
	})
}

// TestProbesWithoutAVerdict: a relay refuses a sender, and then hangs up on its mail, or
// defers it. That says nothing of the sender, and is not asked again and again.
func TestProbesWithoutAVerdict(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]smtptest.Answer{"hang-up": {HangUp: true}, "451": {Reply: "451 4.3.0 try later"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				var held atomic.Bool
				b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
					switch {
					case st.Verb != "MAIL":
						return nil
					case held.Load():
						asked.Add(1)
						return &then
					}
					return &smtptest.Answer{Reply: unknown}
				}))
				for _, m := range many(5, "m", "a@x.test") {
					b.deliver(t, m)
				}
				held.Store(true)
				for i := range 600 { // a minute
					b.deliver(t, many(1, fmt.Sprint("n", i), "a@x.test")[0])
					time.Sleep(100 * time.Millisecond)
				}
				if n := asked.Load(); n < 10 || n > 2*60 { // a hang-up is tried on another session
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

// TestMendedIsFast: a relay refused all mail for a while, having accepted one message right
// before. That was no limit of one a second.
func TestMendedIsFast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		back := time.Now().Add(10 * time.Second)
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb != "DOT" || asked.Add(1) == 1 || time.Now().After(back) {
				return nil
			}
			return &smtptest.Answer{Reply: unknown}
		}))
		start := time.Now()
		b.work(t, many(400, "m", "a@x.test", "b@x.test", "c@x.test"))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %s\n%s", took, b.log)
		}
	})
}

// TestNamesTheDeadOnTrial: mail of others was accepted after a sender's first messages died.
// They are named as soon as it is known that the relay refuses the sender.
func TestNamesTheDeadOnTrial(t *testing.T) {
	t.Parallel()
	r := refusals{min: time.Second, max: time.Minute}
	at, n := time.Now(), 0
	met := func(from string, onTrial bool) ruling {
		n++
		id := fmt.Sprint(from, n)
		return r.met(refused{at: at, key: id, id: id, from: from, like: likeness{code: 550}, dead: !onTrial}, onTrial)
	}
	for range 2 {
		met("a", false)
		met("b", false)
		at = at.Add(2)
		r.accepted("g", "", false, at.Add(-1), at)
	}
	for _, from := range []string{"a", "b", "c", "d"} {
		met(from, false)
	}
	if got := met("e", false); got != ofRelay {
		t.Fatalf("ruling %v", got)
	}
	r.all = true
	met("a", true)
	if got := strings.Join(r.dead, " "); got != "a5 b6 c7 d8 a1 a3" {
		t.Errorf("named %s", got)
	}
}

// TestWordsOfAHold: the words of a hold stay while the reply is like the first one. They are
// in each try of each message that is put off, and there may be an id in them.
func TestWordsOfAHold(t *testing.T) {
	t.Parallel()
	r := refusals{min: time.Second, max: time.Minute}
	for i := range 8 {
		r.met(refused{at: time.Now(), key: fmt.Sprint(i), from: "a", like: likeness{code: 550}, words: fmt.Sprint("550 id ", i)}, false)
		if h := r.held["a"]; h != nil {
			h.probe = fmt.Sprint(i + 1)
		}
	}
	if h := r.held["a"]; h == nil || h.words != "550 id 4" {
		t.Errorf("%+v", h)
	}
}

func times(n int, s string) string { return strings.Repeat(s, n) }

func play(t *testing.T, script string) (rulings string) {
	t.Helper()
	r := refusals{min: time.Second, max: time.Minute}
	now := time.Now()
	for i, w := range strings.Fields(script) {
		who, rest := w[:1], w[1:]
		what, domain, atRcpt := strings.Cut(strings.TrimSuffix(rest, "!"), "@")
		switch who {
		case "~":
			n, err := time.ParseDuration(rest + "s")
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(n)
			continue
		case "=":
			r.over(now)
			continue
		case "+":
			if h := r.held[what]; h != nil {
				h.probe = "probe"
			}
			r.accepted(what, "probe", atRcpt, now, now)
			continue
		case "-":
			r.accepted(what, "in flight", atRcpt, now, now)
			continue
		}
		x := refused{at: now, key: fmt.Sprint(i), from: who}
		if what != "." {
			x.like = likeness{rcpt: atRcpt, code: 550, words: what}
		}
		if what >= "a" {
			x.like.enhanced = "5.7.1"
		}
		if atRcpt {
			x.domains = []string{domain}
		}
		got := r.met(x, strings.HasSuffix(w, "!"))
		r.all = r.all || got == ofRelay
		rulings += string(".shR"[got])
	}
	return rulings
}

// TestProbe: when a message of a sender who is held is tried, and what becomes of it.
func TestProbe(t *testing.T) {
	t.Parallel()
	r := refusals{min: time.Second, max: 3 * time.Second}
	x := refused{at: time.Now(), from: "a", like: likeness{code: 550}}
	for i := range runInARow {
		x.key = fmt.Sprint(i)
		r.met(x, false)
	}
	h := r.held["a"]
	for i, pause := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
		probe, before := fmt.Sprint("p", i), fmt.Sprint("p", i-1)
		if h.pause != pause || h.lets(probe, x.at.Add(h.pause-1)) || !h.lets(probe, x.at.Add(h.pause)) {
			t.Fatalf("probe %d: %+v", i, h)
		}
		if i > 0 && (h.lets(before, x.at.Add(2*h.pause-1)) || !h.lets(before, x.at.Add(2*h.pause))) {
			t.Fatalf("probe %d again: %+v", i-1, h)
		}
		x.at = x.at.Add(h.pause)
		h.probe = probe
		if h.lets("q", x.at.Add(time.Hour)) || !h.lets(probe, x.at) {
			t.Error("there are two probes at once, or none")
		}
		x.key = "q" // was in flight
		if got := r.met(x, false); got != ofSender || h.probe != probe || h.pause != pause {
			t.Errorf("what was in flight: %v, %+v", got, h)
		}
		x.key = probe
		if got := r.met(x, false); got != ofSender || h.probe != "" {
			t.Errorf("the probe: %v, %+v", got, h)
		}
	}
}

// TestLikeness: what is left out of a reply when it is compared.
func TestLikeness(t *testing.T) {
	t.Parallel()
	like := func(code int, enhanced string, lines ...string) likeness {
		return likenessOf(reply{code: code, enhanced: enhanced, lines: lines})
	}
	one := like(550, "5.7.0", "Mailbox policy:", "message 4Zx2 of <ann@x.test> refused at 12:30")
	for name, x := range map[string]struct {
		likeness
		same bool
	}{
		"other numbers": {like(550, "5.7.0", "mailbox policy: message QQ17 of <bob@y.test> refused at 12:31"), true},
		"other domain":  {like(550, "5.7.0", "mailbox policy: message 4Zx2 of y.test refused at 12:31"), true},
		"other words":   {like(550, "5.7.0", "mailbox policy: message 4Zx2 of <ann@x.test> accepted at 12:31"), false},
		"other code":    {like(554, "5.7.0", "Mailbox policy:", "message 4Zx2 of <ann@x.test> refused at 12:30"), false},
		"other detail":  {like(550, "5.7.1", "Mailbox policy:", "message 4Zx2 of <ann@x.test> refused at 12:30"), false},
	} {
		if same := x.likeness == one; same != x.same {
			t.Errorf("%s: %+v", name, x.likeness)
		}
	}
	if x := like(550, "", strings.Repeat("no ", 1000)); len(x.words) > mail.MaxReply {
		t.Errorf("%d bytes are kept", len(x.words))
	}
	for name, x := range map[string]likeness{
		"temporary": like(450, "4.7.1", "greylisted"), "too big": like(552, "5.3.4", "no"), "too big in words": like(552, "", "Message size exceeds the limit"),
	} {
		if x != (likeness{}) {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

// TestLikenessAtRcpt: which replies to all recipients refuse us or the sender.
func TestLikenessAtRcpt(t *testing.T) {
	t.Parallel()
	of := func(code int, enhanced string, lines ...string) (all []reply) {
		for _, l := range lines {
			all = append(all, reply{code: code, enhanced: enhanced, lines: []string{l}})
		}
		return all
	}
	for name, c := range map[string]struct {
		replies []reply
		counts  bool
	}{
		"denied":           {of(554, "5.7.1", "<ann@x.test>: Relay access denied", "<bob@y.test>: Relay access denied"), true},
		"bare":             {of(550, "", "Relaying is not allowed"), true},
		"bare unknown":     {of(550, "", "<ann@x.test>: User unknown"), false},
		"no mailbox":       {of(550, "5.1.1", "no such user"), false},
		"full":             {of(552, "5.2.2", "over quota"), false},
		"unlike":           {of(550, "5.7.1", "denied", "blocked"), false},
		"temporary":        {of(450, "4.7.1", "greylisted"), false},
		"another bare one": {of(553, "", "no"), false},
	} {
		if got := likenessAtRcpt(c.replies); (got != likeness{}) != c.counts || c.counts && !got.rcpt {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestRefusalsAreBounded: the memory of refusals, senders, likenesses and messages has an
// end, and so has what the log names.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	log := &lines{}
	c := newCircuit("r", slog.New(slog.NewTextHandler(log, nil)), DefaultConfig())
	r := &c.refusals
	now := time.Now()
	for i := range 3 * mostHeld {
		x := refused{at: now, key: fmt.Sprint(i), from: fmt.Sprint("s", i), like: likeness{code: 550, words: fmt.Sprint(i)}}
		r.note(x)
		r.hold(x, x.like)
		r.released(x.like, now)
		c.saySender(x.from, r.held[x.from])
		c.tryLater(&mail.Message{ID: fmt.Sprint(i)})
	}
	if len(r.since) != refusalsKept || len(r.held) != mostHeld || len(r.suspects) != mostSuspect || len(c.saidOf) != mostHeld || len(c.tried) > mostBlamed || len(r.senders(now)) != namedAtMost {
		t.Errorf("%d refusals, %d held, %d suspect, %d said, %d tried, %v", len(r.since), len(r.held), len(r.suspects), len(c.saidOf), len(c.tried), r.senders(now))
	}
	for i := range 26 {
		r.dead = append(r.dead, fmt.Sprint("m", i))
	}
	c.sayDead()
	if s := log.String(); !strings.Contains(s, ` m0 m1 `) || !strings.Contains(s, ` m19 and 6 more"`) {
		t.Error(s)
	}
	r.dead = []string{"$(reboot)", "it's", "a b"}
	c.sayDead()
	if s := log.String(); !strings.Contains(s, `replay '$(reboot)' 'it'\\''s' 'a b'`) {
		t.Error(s)
	}
}

// TestBadProbe: of one sender some messages are refused and the others are not. Those that
// are refused do not keep the others from being tried: each of these goes soon after the
// sender is held.
func TestBadProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" && strings.Contains(string(st.Data), "spam") && time.Now().Before(end) {
				return &smtptest.Answer{Reply: "550 5.7.1 looks like spam"}
			}
			return nil
		}))
		var work sync.WaitGroup
		for _, m := range manyWith("Subject: spam\r\n\r\nspam\r\n", 10, "bad", "a@x.test") {
			work.Go(func() { // each comes again just when one may be tried
				for pause := time.Second; classes(b.Deliver(t.Context(), m)) == "requeued"; pause = min(2*pause, time.Minute) {
					time.Sleep(pause)
				}
			})
		}
		time.Sleep(time.Second)
		start := time.Now()
		if _, dead := b.work(t, many(30, "good", "a@x.test")); len(dead) > 0 || time.Since(start) > 2*time.Minute {
			t.Errorf("after %s, dead %v\n%s", time.Since(start), dead, b.log)
		}
		work.Wait()
	})
}

// TestProbeIsGivenUp: a probe that has to wait, because the relay is held meanwhile, is the
// probe no more. Whatever becomes of it, another one is tried.
func TestProbeIsGivenUp(t *testing.T) {
	t.Parallel()
	c := newCircuit("relay.test", slog.New(slog.DiscardHandler), Config{PauseMin: time.Second, PauseMax: time.Minute})
	r := &Relay{circuit: c, pool: newPool(1)}
	m := many(1, "probe", "a@x.test")[0]
	c.refusals.held = map[string]*hold{"a@x.test": {}}
	d := newDelivery(t.Context(), &m, "relay.test")
	if _, ok := r.admit(d); !ok || !d.probe {
		t.Fatal("it is not the probe")
	}
	c.open(newError(mail.StageMail, throttled, "asks for less mail", ""), time.Now())
	if _, ok := r.admit(d); ok || d.probe || c.refusals.held["a@x.test"].probe != "" {
		t.Errorf("admitted %v, it is the probe %v, and of the hold %q", ok, d.probe, c.refusals.held["a@x.test"].probe)
	}
}

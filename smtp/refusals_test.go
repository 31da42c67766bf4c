package smtp

import (
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

// unknown is a refusal in words that say nothing about the account.
const unknown = "550 5.7.0 Mailbox policy: message refused"

// many are n messages, of a size that a relay can refuse before the dot.
func many(n int, id, from string) (all []mail.Message) {
	body := strings.Repeat("0123456789abcde\r\n", 1<<13)
	for i := range n {
		m := mailWith(body)
		m.ID, m.From = fmt.Sprint(id, i), from
		all = append(all, m)
	}
	return all
}

// named are the ids in the alarm of a run.
func (b *bundle) named() []string {
	m := regexp.MustCompile(`postrider dead replay ([^"]*)"`).FindStringSubmatch(b.log.String())
	if m == nil {
		return nil
	}
	return strings.Fields(m[1])
}

// TestRefusesAll: from the sixth message on a relay refuses them all with one reply in
// words of its own. Four are dead before that is known, the others wait, and are
// delivered when the relay accepts mail again. The alarm names the dead.
func TestRefusesAll(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "DATA", "BODY", "DOT"} {
		for _, sessions := range []int{1, 10} {
			t.Run(fmt.Sprint(verb, sessions), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { refusesAll(t, verb, sessions) })
			})
		}
	}
}

func refusesAll(t *testing.T, verb string, sessions int) {
	var asked, refused atomic.Int64
	back := time.Now().Add(2 * time.Hour)
	b := newPiped(t, func(c *Config) { shortPauses(c); c.MaxSessions = sessions }, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != verb || asked.Add(1) <= 5 || time.Now().After(back) {
			return nil
		}
		return &smtptest.Answer{Reply: fmt.Sprintf("%s, id %x", unknown, 1<<40+refused.Add(1)), Delay: time.Millisecond, HangUp: verb == "BODY"}
	}))
	_, dead := b.work(t, many(30, "m", "sender@x.test"))
	// What the relay accepts after refusing others was in flight beside them.
	if most := 4 + sessions - 1; len(dead) < 4 || len(dead) > most || b.server.Accepted() != 30-len(dead) {
		t.Errorf("%d dead, want up to %d; %d accepted\n%s", len(dead), most, b.server.Accepted(), b.log)
	}
	if n := refused.Load(); verb != "BODY" && n < 100 || n > 180 { // a pipe notices in minutes that a body is not read
		t.Errorf("asked %d times in two hours", n)
	}
	if e, i := b.log.count("level=ERROR"), b.log.count("accepts mail again: sending resumes"); e != 1 || i != 1 {
		t.Errorf("%d alarms, resumed %d times:\n%s", e, i, b.log)
	}
	named := b.named()
	for _, id := range named {
		if !slices.Contains(dead, id) {
			t.Errorf("the alarm names %s, which is not dead", id)
		}
	}
	if len(named) != 4 {
		t.Errorf("the alarm names %v of %v:\n%s", named, dead, b.log)
	}
}

// TestRefusesASender: a relay refuses all mail of one sender. Mail of others gets
// through soon, and what was refused fails in the end.
func TestRefusesASender(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "DOT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { refusesASender(t, verb) })
		})
	}
}

func refusesASender(t *testing.T, verb string) {
	b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == verb && st.From == "bad@x.test" {
			return &smtptest.Answer{Reply: unknown}
		}
		return nil
	}))
	died := make(chan int)
	go func() {
		_, dead := b.work(t, many(60, "bad", "bad@x.test"))
		died <- len(dead)
	}()
	for i := 0; ; i++ {
		time.Sleep(time.Minute)
		select {
		case n := <-died:
			if n != 60 || i > 30 || b.log.count("level=ERROR") > 4 {
				t.Errorf("%d of 60 failed after %d minutes\n%s", n, i, b.log)
			}
			return
		default:
		}
		start := time.Now()
		if _, dead := b.work(t, many(1, fmt.Sprint("good", i), "good@x.test")); len(dead) > 0 {
			t.Errorf("failed: %v", dead)
		}
		if took := time.Since(start); took > 2*time.Minute {
			t.Errorf("a good message took %s", took)
		}
	}
}

// TestOneBadMessage: the fifth of a run is refused for itself. Others have their turn
// before it, the first that is accepted ends the hold, and then it fails.
func TestOneBadMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" && strings.Contains(string(st.Data), "bad") {
				return &smtptest.Answer{Reply: unknown}
			}
			return nil
		}))
		bad := func(id string) mail.Message {
			m := mailWith("Subject: bad\r\n\r\n")
			m.ID = id
			return m
		}
		for i := range 4 {
			b.wantClasses(t, bad(fmt.Sprint(i)), "failed")
			b.wantClasses(t, bad(fmt.Sprint(i)), "failed") // its other recipients count once
		}
		b.wantClasses(t, bad("x"), "requeued")
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
		got := make(chan string)
		go func() { got <- classes(b.Deliver(t.Context(), bad("x"))) }()
		synctest.Wait() // it lets others be tried
		b.wantClasses(t, message(), "delivered")
		if x := <-got; x != "failed" || !b.Up() {
			t.Errorf("the bad message: %s\n%s", x, b.log)
		}
	})
}

// TestRun: what is a run, by the replies since a message was accepted.
func TestRun(t *testing.T) {
	t.Parallel()
	for replies, want := range map[string]bool{
		"aaaa": false, "aaaaa": true, "baaaaa": true, "aabaaa": false, "aaaab": false, "a.aaaa": false, "aaaa.": false, ".....": false,
		"a a a a a": true, "aaaaa.": false, "aaaaabbbb": false,
		strings.Repeat("aaab", 6): false, strings.Repeat("aaab", 6) + "aa": true, strings.Repeat("a.", 20) + "a": true, strings.Repeat("aaab ", 6) + "aa": false,
	} {
		var since []refused
		at := time.Now()
		for i, c := range replies {
			if c == ' ' {
				at = at.Add(20 * time.Second)
				continue
			}
			x := refused{message: fmt.Sprint(i), at: at}
			if c != '.' {
				x.reply = likeness{code: 550, words: string(c)}
			}
			since = append(since, x)
		}
		if got := isRun(since, since[len(since)-1].reply); got != want {
			t.Errorf("%s: %v", replies, got)
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

// TestRefusalsAreBounded: the memory of refusals and of messages has an end, and so has
// what the alarm names.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	var r refusals
	now := time.Now()
	for i := range 3 * mostBlamed {
		r.add(fmt.Sprint("m", i), likeness{code: 550, words: fmt.Sprint(i / 4)}, now)
		r.tryLater(&mail.Message{ID: fmt.Sprint(i)})
	}
	if len(r.since) != refusalsKept || len(r.tried) > mostBlamed {
		t.Errorf("%d refusals, %d tried", len(r.since), len(r.tried))
	}
	for i := range 26 {
		r.dead = append(r.dead, fmt.Sprint("m", i))
	}
	if s := r.sayDead(); !strings.Contains(s, ` m0 m1 `) || !strings.HasSuffix(s, ` m19 and 6 more`) || r.sayDead() != "" {
		t.Error(s)
	}
	r.dead = []string{"$(reboot)", "it's", "a b"}
	if s := r.sayDead(); !strings.HasSuffix(s, `replay '$(reboot)' 'it'\''s' 'a b'`) {
		t.Error(s)
	}
}

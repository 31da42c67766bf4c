package smtp

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// perSecond is a relay that accepts n messages in any second.
func perSecond(n int, verb, over string) smtptest.Option {
	var mu sync.Mutex
	var lately []time.Time
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != verb {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		for len(lately) > 0 && now.Sub(lately[0]) >= time.Second {
			lately = lately[1:]
		}
		if len(lately) >= n {
			return &smtptest.Answer{Reply: over, Delay: 30 * time.Millisecond}
		}
		lately = append(lately, now)
		return &smtptest.Answer{Reply: smtptest.Yes(verb) + " ok", Delay: 30 * time.Millisecond}
	})
}

// atOnce is a relay that accepts n messages at the same time.
func atOnce(n int64, over string) smtptest.Option {
	var busy atomic.Int64
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != "DOT" {
			return nil
		}
		if busy.Add(1) > n {
			busy.Add(-1)
			return &smtptest.Answer{Reply: over, Delay: 10 * time.Millisecond}
		}
		time.AfterFunc(199*time.Millisecond, func() { busy.Add(-1) }) // before the client hears
		return &smtptest.Answer{Reply: "250 ok", Delay: 200 * time.Millisecond}
	})
}

// flow sends n messages as the worker does, and fails if one is anything else but
// delivered. It returns how often one was requeued.
func (b *bundle) flow(t *testing.T, n int) (requeued int64) {
	t.Helper()
	var all []mail.Message
	for i := range n {
		m := message()
		m.ID = fmt.Sprint("m", i)
		all = append(all, m)
	}
	requeued, failed := b.work(t, all)
	if len(failed) > 0 {
		t.Errorf("failed: %v", failed)
	}
	return requeued
}

// work sends messages as the worker does: ten at a time, only while the relay is up, and
// those that were requeued again after 1, 2, 4 seconds and so on. It returns how often
// one was requeued, and the ids of those that failed.
func (b *bundle) work(t *testing.T, all []mail.Message) (requeued int64, failed []string) {
	t.Helper()
	type mine struct {
		m     mail.Message
		times int
	}
	queue := make(chan mine, len(all))
	for _, m := range all {
		queue <- mine{m: m}
	}
	var mu sync.Mutex
	var again atomic.Int64
	left := len(all)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for x := range queue {
				_ = b.Wait(t.Context())
				got := classes(b.Deliver(t.Context(), x.m))
				if got == "requeued" {
					again.Add(1)
					time.AfterFunc(min(time.Second<<min(x.times, 10), time.Minute), func() { queue <- mine{x.m, x.times + 1} })
					continue
				}
				mu.Lock()
				switch got {
				case "delivered":
				case "failed":
					failed = append(failed, x.m.ID)
				default:
					t.Errorf("outcome %s", got)
				}
				if left--; left == 0 {
					close(queue)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return again.Load(), failed
}

// TestFindsTheRate: a relay that takes 14 messages a second gets nearly that many, and
// few in vain, wherever it says so. Nothing is counted, and the log says it once.
func TestFindsTheRate(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newPiped(t, shortPauses, perSecond(14, verb, "454 Throttling failure: Maximum sending rate exceeded."))
				start := time.Now()
				again := b.flow(t, 300)
				took := time.Since(start)
				t.Logf("%s, %d requeued, %d sessions", took, again, b.server.Sessions())
				if took > 26*time.Second || again > 60 {
					t.Errorf("took %s, %d requeued; ideal are 21s", took, again)
				}
				if w, i := b.log.count("level=WARN"), b.log.count("level=INFO"); w != 1 || i != 1 {
					t.Errorf("%d warnings, %d infos:\n%s", w, i, b.log)
				}
			})
		})
	}
}

// TestFindsTheSessions: a relay that takes three at a time gets three at a time.
func TestFindsTheSessions(t *testing.T) {
	t.Parallel()
	for _, over := range []string{"432 4.3.2 Concurrent connections limit exceeded", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"} {
		synctest.Test(t, func(t *testing.T) {
			b := newPiped(t, shortPauses, atOnce(3, over))
			start := time.Now()
			again := b.flow(t, 120) // with three 8 s, with two 12 s, with one 24 s
			if took := time.Since(start); took > 9*time.Second || again > 7 || b.log.count("level=WARN") > 0 {
				t.Errorf("%s: took %s, %d requeued\n%s", over, took, again, b.log)
			}
		})
	}
}

// TestLimitOfTheAccount: no mail dies of a limit that is said with 5yz. If it is one of a
// second, its rate is found; if it is one of a day, one message is tried at a growing
// pause.
func TestLimitOfTheAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, perSecond(5, "DOT", "550 5.7.0 Requested action not taken: too many emails per second"))
		start := time.Now()
		b.flow(t, 100)
		if took := time.Since(start); took > 26*time.Second || b.log.count("level=WARN") != 1 {
			t.Errorf("took %s; ideal are 19s\n%s", took, b.log)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var said, sent atomic.Int64
		day := time.Now().Add(24 * time.Hour)
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb != "DOT" || sent.Add(1) <= 5 || time.Now().After(day) {
				return nil
			}
			said.Add(1)
			return &smtptest.Answer{Reply: "550-5.4.5 Daily user sending limit exceeded. For more information see\r\n550 5.4.5 https://relay.example/limits - gsmtp"}
		}))
		start := time.Now()
		b.flow(t, 30)
		if took := time.Since(start); took > 25*time.Hour {
			t.Errorf("took %s", took)
		}
		if n := said.Load(); n > 170 {
			t.Errorf("asked %d times in a day", n)
		}
		if w, i := b.log.count("level=WARN"), b.log.count("sending resumes"); w != 1 || i != 1 {
			t.Errorf("%d warnings, %d times resumed:\n%s", w, i, b.log)
		}
	})
}

// TestPaceRecovers: the rate grows slowly near the one that was too much, is forgotten
// after some minutes, and nobody waits at a relay that never asked for less.
func TestPaceRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began := time.Now()
		send := func(n int) time.Duration {
			start := time.Now()
			for range n {
				if err := p.wait(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				p.accepted()
			}
			return time.Since(start)
		}
		if took := send(20); took != 0 {
			t.Errorf("waited %s before any limit", took)
		}
		p.less()
		p.less() // of the same burst
		time.Sleep(time.Second)
		for _, c := range []struct{ after, rate int }{{0, 18}, {30, 20}, {60, 34}, {120, 146}} {
			time.Sleep(time.Until(began.Add(time.Duration(1+c.after) * time.Second)))
			took := send(10)
			if got := 9 / took.Seconds(); got < 0.9*float64(c.rate) || got > 1.2*float64(c.rate) {
				t.Errorf("after %d s: %.1f a second, want %d", c.after, got, c.rate)
			}
		}
		time.Sleep(forgetPace)
		if took := send(100); took != 0 {
			t.Errorf("waited %s after it was forgotten", took)
		}
	})
}

// TestBlame: a message whose own content makes the relay ask for less is judged by the
// reply's digit in the end, if the relay accepts others meanwhile. A full mailbox is
// never the relay's trouble.
func TestBlame(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "BODY", "DOT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { blames(t, verb) })
		})
	}
}

// TestBlameForWords: the same for words in a permanent reply. The message fails then.
func TestBlameForWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" && st.From == "bad@x.test" {
				return &smtptest.Answer{Reply: "554 5.7.1 the rate of spam is too high"}
			}
			return nil
		}))
		bad := message()
		bad.ID, bad.From = "bad", "bad@x.test"
		start := time.Now()
		for range excused {
			b.wantClasses(t, bad, "requeued")
			_ = b.Wait(t.Context())
			b.wantClasses(t, message(), "delivered")
		}
		b.wantClasses(t, bad, "failed")
		if took := time.Since(start); took > 30*time.Second { // a pause of a second each, and the rate is lowered
			t.Errorf("others were held for %s", took)
		}
	})
}

func blames(t *testing.T, verb string) {
	b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == verb && (st.From == "bad@x.test") {
			return &smtptest.Answer{Reply: "451 4.7.0 rate limit exceeded", HangUp: verb == "BODY"}
		}
		return nil
	}))
	bad := mailWith(strings.Repeat("0123456789abcde\r\n", 1<<14))
	bad.ID, bad.From = "bad", "bad@x.test"
	got := map[string]int{}
	for range 15 {
		_ = b.Wait(t.Context())
		got[classes(b.deliver(t, bad))]++
		_ = b.Wait(t.Context())
		b.wantClasses(t, message(), "delivered")
	}
	if got["requeued"] != excused || got["deferred"] != 15-excused {
		t.Errorf("outcomes %v", got)
	}
	// While the relay accepts nothing else, nobody is to blame.
	bad.ID = "new"
	for range 30 {
		_ = b.Wait(t.Context())
		b.wantClasses(t, bad, "requeued")
	}
}

// TestBlameIsBounded: the memory of messages has an end.
func TestBlameIsBounded(t *testing.T) {
	t.Parallel()
	var b blame
	for i := range 3 * mostBlamed {
		b.note(fmt.Sprint(i))
	}
	if len(b.of) > mostBlamed {
		t.Errorf("%d messages", len(b.of))
	}
	for range excused {
		b.note("x")
		b.clear("other")
	}
	if !b.often("x") || b.often("y") {
		t.Error("x is to blame, y is not")
	}
	if b.clear("x"); b.often("x") {
		t.Error("x is still to blame after it was accepted")
	}
}

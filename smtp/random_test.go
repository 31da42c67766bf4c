package smtp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// moody is a relay that answers a step in one of many with something else than yes.
func moody(oneIn int) smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "CONNECT" || st.Verb == "EHLO" || st.Verb == "BODY" || rand.IntN(oneIn) > 0 {
			return nil
		}
		switch rand.IntN(12) {
		case 0:
			return &smtptest.Answer{Reply: "421 4.3.2 closing", HangUp: true}
		case 1:
			return &smtptest.Answer{HangUp: true}
		case 2:
			return &smtptest.Answer{Reset: true}
		case 3:
			return &smtptest.Answer{Reply: smtptest.Yes(st.Verb) + " ok", Raw: "25", HangUp: true}
		case 4:
			return &smtptest.Answer{Reply: "503 5.5.1 bad sequence"}
		case 5:
			return &smtptest.Answer{Raw: "thank you\r\n"}
		case 6:
			return &smtptest.Answer{Reply: "535 5.7.8 who are you"}
		case 7:
			return &smtptest.Answer{Reply: "452 4.3.1 full"}
		case 8:
			return &smtptest.Answer{Reply: "500 5.5.1 what"}
		case 9:
			return &smtptest.Answer{Stall: true}
		case 10:
			return &smtptest.Answer{Reply: fmt.Sprint("451 4.2.0 ", rand.Uint32())}
		}
		return &smtptest.Answer{Reply: fmt.Sprintf("550 5.1.1 %c", 'a'+rand.IntN(26))}
	})
}

// TestBooks: a relay fails at random steps in random ways. Whatever it accepted was
// reported as delivered or uncertain, whatever was reported as delivered it accepted,
// and nothing was accepted twice in one call of Deliver.
func TestBooks(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{"PIPELINING", "PIPELINING,CHUNKING", "CHUNKING", "X"} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			n := 1000
			if testing.Short() || !strings.Contains(ext, "PIPELINING") {
				n = 200
			}
			balance(t, ext, n)
		})
	}
}

func balance(t *testing.T, ext string, n int) {
	accepted := map[string]int{}
	var mu sync.Mutex
	server := smtptest.New(t, smtptest.Forget(), smtptest.Extensions(append(strings.Split(ext, ","), "SIZE")...), moody(60), smtptest.Received(func(m *smtptest.Message) {
		mu.Lock()
		defer mu.Unlock()
		for _, to := range m.Rcpts {
			accepted[m.From+" "+to]++
		}
	}))
	b := newBundle(t, server, func(c *Config) {
		c.PauseMin, c.PauseMax = time.Millisecond, 5*time.Millisecond
		c.Timeouts = c.Timeouts.Within(time.Second)
	})
	const recipients = 3
	counts, most := map[mail.Class]int{}, 0
	var wg sync.WaitGroup
	for caller := range 80 {
		wg.Go(func() {
			for i := caller; i < n; i += 80 {
				m := mailWith(randomBody())
				m.ID = fmt.Sprint("m", i)
				m.Recipients = nil
				for r := range 1 + rand.IntN(recipients) {
					m.Recipients = append(m.Recipients, mail.Recipient{Index: r, Address: fmt.Sprintf("r%d@x.test", r)})
				}
				for try := 0; try == 0 || try < 20 && m.From != ""; try++ {
					m.From = fmt.Sprintf("m%d-%d@x.test", i, try)
					m.Alone = rand.IntN(50) == 0
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					_ = b.Wait(ctx)
					inAir := b.forget()
					mu.Lock()
					most = max(most, inAir)
					mu.Unlock()
					if rand.IntN(50) == 0 {
						time.AfterFunc(time.Duration(rand.IntN(5))*time.Millisecond, cancel)
					}
					tx := b.Deliver(ctx, m)
					cancel()
					done := true
					mu.Lock()
					for k, o := range tx.Outcomes {
						got := accepted[m.From+" "+m.Recipients[k].Address]
						counts[o.Class]++
						done = done && o.Class.Counted()
						if got > 1 || got == 1 && o.Class != mail.Delivered && o.Class != mail.Uncertain || got == 0 && o.Class == mail.Delivered || o.Class == "" {
							t.Errorf("%s: accepted %d times, outcome %+v", m.From, got, o)
						}
					}
					mu.Unlock()
					if done {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%v in %d sessions, %d in the air", counts, server.Sessions(), most)
	if counts[mail.Delivered] < n/2 {
		t.Errorf("only %v", counts)
	}
}

// forget has a relay be trusted again, whatever it did, and reports how many messages were
// in the air on one session.
func (b *bundle) forget() (most int) {
	q := b.quirks()
	q.mu.Lock()
	clear(q.until[:])
	q.mu.Unlock()
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	b.pool.window.size = widest
	for _, s := range b.pool.shared {
		most = max(most, len(s.flights))
	}
	return most
}

func randomBody() string {
	switch rand.IntN(20) {
	case 0:
		return "Subject: large\r\n\r\n" + strings.Repeat("0123456789abcde\r\n", 5000)
	case 1:
		return "Subject: bare\r\n\r\na\nb\rc\r\n"
	case 2:
		return "Subject: large and bare\r\n\r\n" + strings.Repeat("0123456789abcde\r\n", 5000) + "\n"
	case 3:
		return "Subject: no end\r\n\r\n.x"
	}
	return smallBody
}

package smtp

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

// careless is a relay that accepts RCPT and DATA whatever it said to MAIL.
func careless(refuse func(smtptest.Step) string) smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case st.Verb == "MAIL" && refuse(st) != "":
			return &smtptest.Answer{Reply: refuse(st)}
		case st.Verb == "RCPT":
			return &smtptest.Answer{Reply: "250 2.1.5 ok"}
		case st.Verb == "DATA":
			return &smtptest.Answer{Reply: "354 go ahead"}
		case st.Verb == "DOT":
			return &smtptest.Answer{Reply: "250 2.0.0 Ok: queued as 1"}
		}
		return nil
	})
}

// TestMailAgainAfterData: a relay that refuses a parameter of MAIL and accepts the
// rest of the group waits for a body. The second MAIL must not be written into it.
func TestMailAgainAfterData(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"501 5.5.4 parameter", "555 5.5.4 parameter"} {
		b := newBundle(t, smtptest.New(t, careless(func(st smtptest.Step) string {
			if strings.Contains(st.Line, "SIZE") {
				return reply
			}
			return ""
		})), nil)
		b.wantClasses(t, message("a@x.test", "b@x.test"), "delivered delivered")
		first, all := b.server.Transcript(1), b.server.Messages()
		if strings.Count(first, "C: MAIL") != 1 || !strings.HasSuffix(first, "S: 354 go ahead\r\n") {
			t.Errorf("%s: the first session:\n%s", reply, first)
		}
		if len(all) != 1 || !strings.HasPrefix(string(all[0].Data), "Subject: test") || len(all[0].Rcpts) != 2 {
			t.Errorf("%s: the relay accepted %+v", reply, all)
		}
	}
}

// TestMailAgainAfterRcpt: the same without DATA. The relay may have begun a
// transaction, and forgets it before the second MAIL.
func TestMailAgainAfterRcpt(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"503 5.5.1 RCPT first", "421 4.3.2 closing", "354 go ahead"} {
		rcpt := "250 2.1.5 ok"
		if strings.HasPrefix(data, "354") {
			rcpt = "503 5.5.1 MAIL first" // so that a lone dot is due
		}
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Message > 1 || st.Session > 1:
			case st.Verb == "MAIL":
				return &smtptest.Answer{Reply: "555 5.5.4 SIZE"}
			case st.Verb == "RCPT":
				return &smtptest.Answer{Reply: rcpt}
			case st.Verb == "DATA":
				return &smtptest.Answer{Reply: data, HangUp: data[0] == '4'}
			}
			return nil
		})), nil)
		b.wantClasses(t, message(), "delivered")
		want := map[string]string{"503": "S: 503 5.5.1 RCPT first\r\nC: RSET\r\nS: 250 2.0.0 ok\r\nC: MAIL", "421": "S: 421 4.3.2 closing\r\n", "354": "C: .\r\nS: 554 5.5.1 no valid recipients\r\nC: MAIL"}[data[:3]]
		if s := b.server.Transcript(1); !strings.Contains(s, want) || b.server.Accepted() != 1 {
			t.Errorf("%s: %d messages\n%s", data, b.server.Accepted(), s)
		}
	}
}

// TestNoEmptyMessage: if a relay refuses MAIL and accepts a recipient and DATA, a
// lone dot would send an empty message to that recipient.
func TestNoEmptyMessage(t *testing.T) {
	t.Parallel()
	for reply, class := range map[string]string{
		"550 5.7.1 not you": "failed", "450 4.7.1 greylisted": "deferred", "452 4.3.1 full": "requeued", "530 5.7.0 who are you": "requeued",
		"503 5.5.1 bad sequence": "requeued",
	} {
		b := newBundle(t, smtptest.New(t, careless(func(smtptest.Step) string { return reply })), nil)
		b.wantClasses(t, message("a@x.test", "b@x.test"), class+" "+class)
		if s := b.server.Transcript(1); strings.Contains(s, "C: .") || b.server.Accepted() != 0 {
			t.Errorf("%s: %d messages:\n%s", reply, b.server.Accepted(), s)
		}
	}
}

// TestCannotPipeline: a relay offers PIPELINING, and does something else with a
// group of commands. The next message goes command by command.
func TestCannotPipeline(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(group []string) []string{
		"the first is lost":    func(group []string) []string { return group[1:] },
		"the first is kept":    func(group []string) []string { return group[:1] },
		"the last is lost":     func(group []string) []string { return group[:len(group)-1] },
		"the second is lost":   func(group []string) []string { return append(group[:1], group[2:]...) },
		"they come in reverse": func(group []string) []string { slices.Reverse(group); return group },
		"it hangs up":          func([]string) []string { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newPiped(t, nil)
				b.dialer.connect = func(context.Context, string) (net.Conn, error) {
					return &regrouped{Conn: b.server.Pipe(), way: way}, nil
				}
				if got := classes(b.deliver(t, message())); got != "requeued" && got != "deferred" || !b.Up() {
					t.Errorf("a group got %s", got)
				}
				for range 3 {
					b.wantClasses(t, message(), "delivered")
					time.Sleep(20 * time.Second) // each has a session of its own
				}
				if n := b.log.count("SMTP_DISCARD_EHLO=PIPELINING"); n != 1 {
					t.Errorf("said %d times:\n%s", n, b.log)
				}
				time.Sleep(quirkFor)
				b.deliver(t, message())
				if n := b.log.count("SMTP_DISCARD_EHLO=PIPELINING"); n != 2 {
					t.Error("it is not tried again after a day")
				}
			})
		})
	}
}

// regrouped is a connection to a relay that does something to each group of commands.
// Bodies begin and end as they are.
type regrouped struct {
	net.Conn
	way func([]string) []string
}

func (r *regrouped) Write(p []byte) (int, error) {
	lines := slices.Collect(strings.Lines(string(p)))
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "MAIL") {
		return r.Conn.Write(p)
	}
	if lines = r.way(lines); lines == nil {
		r.Close()
		return len(p), nil
	}
	_, err := r.Conn.Write([]byte(strings.Join(lines, "")))
	return len(p), err
}

// TestStaleGroup: a session that was used before may simply be dead, and a message
// may be refused in a group. Neither says anything about PIPELINING.
func TestStaleGroup(t *testing.T) {
	t.Parallel()
	for _, a := range []smtptest.Answer{{HangUp: true}, {Reply: "503 5.5.1 bad sequence"}, {Reply: "550 5.7.1 no"}, {Reply: "450 4.7.1 greylisted"}} {
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && st.Session == 1 && st.Message == 2 {
				return &a
			}
			return nil
		})), nil)
		b.wantClasses(t, message(), "delivered")
		b.deliver(t, message())
		if b.quirks().has(groups) {
			t.Errorf("%+v: %s", a, b.log)
		}
	}
}

func (b *bundle) quirks() *quirks { return b.dialer.quirks }

// TestSizeRefused: a relay that offers SIZE and refuses it is asked without it from
// then on, so that no more sessions are lost to it.
func TestSizeRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t, careless(func(st smtptest.Step) string {
		if strings.Contains(st.Line, "SIZE") {
			return "501 5.5.4 parameter"
		}
		return ""
	})), nil)
	for range 3 {
		b.wantClasses(t, message(), "delivered")
	}
	if b.server.Sessions() != 2 || b.log.count("SMTP_DISCARD_EHLO=SIZE") != 1 {
		t.Errorf("%d sessions\n%s", b.server.Sessions(), b.log)
	}
}

// TestParameterRefused: a relay that refuses a parameter of MAIL that we can do without,
// in whatever way it says so, is asked once more without, and for a day from then on.
func TestParameterRefused(t *testing.T) {
	t.Parallel()
	for reply, parameter := range map[string]string{
		"501 5.5.4 parameter": "SIZE", "555 5.5.4 parameter": "SIZE", "504 unknown": "SIZE", "500 5.5.4 Unsupported option: SIZE=68": "SIZE",
		"555 5.5.4 Unsupported option: BODY=8BITMIME": "BODY", "500 5.5.4 Unsupported option: BODY=8BITMIME": "BODY", "550 5.5.4 invalid": "BODY",
		"553 unrecognized parameter": "BODY", "501 5.5.2 syntax": "BODY", "550 8BITMIME not supported": "BODY",
	} {
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && strings.Contains(st.Line, parameter) {
				return &smtptest.Answer{Reply: reply}
			}
			return nil
		})), nil)
		m := message()
		m.EightBit = true
		for range 4 {
			b.wantClasses(t, m, "delivered")
		}
		refused := strings.Count(b.server.Transcript(1), "S: "+reply)
		keyword := map[string]string{"SIZE": "SIZE", "BODY": "8BITMIME"}[parameter]
		if refused > 2 || b.log.count("SMTP_DISCARD_EHLO="+keyword) != 1 {
			t.Errorf("%s: refused %d times\n%s", reply, refused, b.log)
		}
	}
	// What must not be sent without, and what is refused without too, fails.
	for _, eightBit := range []string{"send", "fail"} {
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && (eightBit == "send" || strings.Contains(st.Line, "BODY")) {
				return &smtptest.Answer{Reply: "555 5.5.4 Unsupported option: BODY=8BITMIME"}
			}
			return nil
		})), func(c *Config) { c.EightBit = eightBit })
		m := message()
		m.EightBit = true
		b.wantClasses(t, m, "failed")
		if n := strings.Count(b.server.Transcript(1), "C: MAIL"); n != 2 {
			t.Errorf("%s: %d times MAIL", eightBit, n)
		}
	}
}

// TestDiscardEHLO: what the relay offers is not used if the settings say so.
func TestDiscardEHLO(t *testing.T) {
	t.Parallel()
	offers := smtptest.On("EHLO", smtptest.Answer{Reply: "250-relay.test\r\n250-PIPELINING\r\n250-Size 10\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-AUTH=LOGIN\r\n250 AUTH PLAIN"})
	b := newBundle(t, smtptest.New(t, offers), func(c *Config) { c.DiscardEHLO = "pipelining, SIZE,8BITMIME,SMTPUTF8,AUTH" })
	tx := b.wantClasses(t, message(), "delivered")
	s, err := b.pool.take(t.Context(), nil)
	if err != nil || s.id != tx.Session || fmt.Sprintf("%+v", s.ext) != fmt.Sprintf("%+v", extensions{}) {
		t.Errorf("%+v, %v", s.ext, err)
	}
	b.give(s)
	if d := b.server.Transcript(1); !strings.Contains(d, "C: MAIL FROM:<sender@x.test>\r\nS: 250 2.1.0 ok\r\nC: RCPT") {
		t.Errorf("the dialogue is\n%s", d)
	}
	c := testConfig("smtp://relay.test")
	c.DiscardEHLO = "PIPELINING,CHUNKING"
	if got := fmt.Sprint(c.Validate()); !strings.Contains(got, `SMTP_DISCARD_EHLO: "CHUNKING" is none of PIPELINING, SIZE`) {
		t.Errorf("Validate: %s", got)
	}
}

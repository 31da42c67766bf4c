package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// TestDialogue compares the dialogue, byte for byte, with what RFC 5321 and RFC
// 2920 ask for.
func TestDialogue(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t, smtptest.Extensions("PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8")), nil)
	m := mailWith("Subject: x\r\n\r\n.dot\r\n", "a@x.test", `"b c"@x.test`, "grün@x.test")
	m.EightBit, m.UTF8, m.From = true, true, ""
	tx := b.wantClasses(t, m, "delivered delivered delivered")
	want := "S: 220 relay.test ESMTP\r\n" +
		"C: EHLO client.test\r\n" +
		"S: 250-relay.test\r\nS: 250-PIPELINING\r\nS: 250-SIZE 1000\r\nS: 250-8BITMIME\r\nS: 250 SMTPUTF8\r\n" +
		"C: MAIL FROM:<> SIZE=20 BODY=8BITMIME SMTPUTF8\r\nS: 250 2.1.0 ok\r\n" +
		"C: RCPT TO:<a@x.test>\r\nS: 250 2.1.5 ok\r\n" +
		"C: RCPT TO:<\"b c\"@x.test>\r\nS: 250 2.1.5 ok\r\n" +
		"C: RCPT TO:<grün@x.test>\r\nS: 250 2.1.5 ok\r\n" +
		"C: DATA\r\nS: 354 go ahead\r\n" +
		"C: Subject: x\r\nC: \r\nC: ..dot\r\nC: .\r\nS: 250 2.0.0 Ok: queued as 1-1\r\n"
	if got := b.server.Transcript(1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	o := tx.Outcomes[0]
	if o.QueueID != "1-1" || o.Reply != "Ok: queued as 1-1" || o.Code != 250 || o.Enhanced != "2.0.0" || o.Stage != mail.StageDot {
		t.Errorf("outcome %+v", o)
	}
	if tx.Session == "" || tx.Use != 1 || tx.Connect <= 0 || tx.Dot <= 0 || tx.Data <= 0 || tx.Relay != b.server.Addr() || tx.At.IsZero() {
		t.Errorf("transaction %+v", tx)
	}
	first := tx.Session
	if tx = b.wantClasses(t, message(), "delivered"); tx.Session != first || tx.Use != 2 || tx.Connect != 0 {
		t.Errorf("second transaction %+v", tx)
	}
}

// TestUnfit: a message that the relay cannot accept fails before anything is sent.
func TestUnfit(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t, smtptest.Extensions("SIZE 70")), func(c *Config) { c.EightBit = "fail" })
	large, eight, utf := mailWith(strings.Repeat("x", 69)+"\r\n"), mailWith("x\r\n"), mailWith("x\r\n")
	eight.EightBit, utf.UTF8 = true, true
	for enhanced, m := range map[string]mail.Message{"5.3.4": large, "5.6.3": eight, "5.6.7": utf} {
		o := b.wantClasses(t, m, "failed").Outcomes[0]
		if o.Enhanced != enhanced || o.Code != 0 || o.Stage != mail.StageLocal || o.Reply == "" {
			t.Errorf("%+v, want %s", o, enhanced)
		}
	}
	b.wantClasses(t, mailWith("x\r\n"), "delivered")
	if s := b.server.Transcript(1); strings.Count(s, "MAIL") != 1 || b.server.Sessions() != 1 {
		t.Errorf("%d sessions\n%s", b.server.Sessions(), s)
	}
}

// TestAddresses: an address that cannot be in a command fails alone; one that can
// is sent, in its canonical form.
func TestAddresses(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t), nil)
	bad := []string{
		"", "a", "@x.test", "a@", "a b@x.test", "<a@x.test>", "a@b> SIZE=1 <c@x.test", "a@x.test\r\nRCPT TO:<c@x.test>", "a\x00@x.test", "a@x.test\n",
		"a\u0085@x.test", "a\u2028@x.test", "a@x..test", `"a@x.test`, `a"b"@x.test`, `a.."b@x.test`, "a..b> SIZE=1 <c@x.test", strings.Repeat("l", 249) + "@x.test",
		"a@" + strings.Repeat("d", 63) + "." + strings.Repeat("e", 63) + "." + strings.Repeat("f", 63) + "." + strings.Repeat("g", 63) + ".test",
		"a@[1.2.3]", "ä@x.test", "a@\xff.test", `"a` + "\r\n" + `b"@x.test`,
	}
	good := []string{"a@x.test", `"a b<>@c"@x.test`, "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a+b.c@x-y.test", "a@x_y.test", strings.Repeat("l", 65) + "@x.test"}
	wire := append(slices.Clone(good), `"a..b"@x.test`)
	good = append(good, "a..b@x.test.")
	tx := b.deliver(t, message(append(bad, good...)...))
	for i, o := range tx.Outcomes {
		if i < len(bad) && (o.Class != mail.Failed || o.Stage != mail.StageLocal || o.Enhanced != "5.1.3") {
			t.Errorf("%q: %+v", bad[i], o)
		}
		if i >= len(bad) && o.Class != mail.Delivered {
			t.Errorf("%q: %+v", good[i-len(bad)], o)
		}
	}
	if got := b.server.Messages()[0].Rcpts; fmt.Sprint(got) != fmt.Sprint(wire) {
		t.Errorf("recipients on the wire %q", got)
	}
	m := message()
	m.From = "a@b> SIZE=1 <c@x.test"
	if o := b.wantClasses(t, m, "failed").Outcomes[0]; o.Enhanced != "5.1.7" || o.Stage != mail.StageLocal {
		t.Errorf("sender: %+v", o)
	}
	if len(b.Deliver(t.Context(), mail.Message{From: "a@x.test"}).Outcomes) != 0 {
		t.Error("outcomes for nobody")
	}
}

// TestParameters: a relay that refuses SIZE is asked once without it, and not with
// it again.
func TestParameters(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"555 5.5.4 SIZE", "501 5.5.4 syntax"} {
		for _, ext := range []string{"PIPELINING", "X"} {
			always := smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
				if st.Verb == "MAIL" && strings.Contains(st.Line, "=") {
					return &smtptest.Answer{Reply: reply}
				}
				return nil
			})
			b := newBundle(t, smtptest.New(t, smtptest.Extensions(ext, "SIZE", "8BITMIME"), always), func(c *Config) { c.EightBit = "fail" })
			b.wantClasses(t, message(), "delivered")
			m := message()
			m.EightBit = true // BODY must not be left out
			b.wantClasses(t, m, "failed")
			if n := strings.Count(b.server.Transcript(1), "C: MAIL"); n != 3 || b.server.Sessions() != 2 { // refused on a used session, the second is tried anew
				t.Errorf("%d MAILs in %d sessions", n, b.server.Sessions())
			}
		}
	}
}

// TestPipelining: groups of commands for any number of recipients, some of them
// refused, and the same without PIPELINING.
func TestPipelining(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{"PIPELINING", "X"} {
		for _, n := range []int{1, 97, 98, 99, 100, 101, 250} {
			t.Run(fmt.Sprint(ext, n), func(t *testing.T) {
				t.Parallel()
				b := newBundle(t, smtptest.New(t, smtptest.Extensions(ext), smtptest.ByAddress()), nil)
				var to, want []string
				for i := range n {
					a, c := fmt.Sprintf("r%d@x.test", i), "delivered"
					switch i % 3 {
					case 1:
						a, c = fmt.Sprintf("550@r%d.test", i), "failed"
					case 2:
						a, c = fmt.Sprintf("451@r%d.test", i), "deferred"
					}
					to, want = append(to, a), append(want, c)
				}
				for range 2 {
					b.wantClasses(t, message(to...), strings.Join(want, " "))
				}
				var none, failed []string
				for i := range n {
					none, failed = append(none, fmt.Sprintf("550@r%d.test", i)), append(failed, "failed")
				}
				b.wantClasses(t, message(none...), strings.Join(failed, " "))
				b.wantClasses(t, message(), "delivered")
				if b.server.Sessions() != 1 || strings.Count(b.server.Transcript(1), "C: RSET") != 1 {
					t.Errorf("%d sessions; RSET only after the refused transaction:\n%.2000s", b.server.Sessions(), b.server.Transcript(1))
				}
			})
		}
	}
}

// TestLoneDot: a relay that accepts DATA without a recipient, or without a sender,
// gets a dot and no body.
func TestLoneDot(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"RCPT", "MAIL"} {
		b := newBundle(t, smtptest.New(t, smtptest.ByAddress(), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Message > 1:
				return nil
			case st.Verb == verb:
				return &smtptest.Answer{Reply: "550 5.1.1 no"}
			case st.Verb == "DATA":
				return &smtptest.Answer{Reply: "354 whatever"}
			}
			return nil
		})), nil)
		b.wantClasses(t, message("a@x.test", "b@x.test"), "failed failed")
		b.wantClasses(t, message(), "delivered")
		s := b.server.Transcript(1)
		if !strings.Contains(s, "S: 354 whatever\r\nC: .\r\nS: 554") || b.server.Sessions() != 1 || b.server.Accepted() != 1 {
			t.Errorf("%s refused, %d sessions:\n%s", verb, b.server.Sessions(), s)
		}
	}
}

// TestPermit: Permit is asked last, and without its consent no dot is sent.
func TestPermit(t *testing.T) {
	t.Parallel()
	for _, body := range []string{smallBody, strings.Repeat("0123456789abcde\r\n", 1<<15)} {
		b := newBundle(t, smtptest.New(t), nil)
		b.wantClasses(t, message(), "delivered")
		m := mailWith(body, "a@x.test", "b@x.test")
		m.Permit = func() error {
			if b.server.Accepted() != 1 {
				t.Error("the dot went out before it was permitted")
			}
			return errors.New("the lease has expired")
		}
		tx := b.wantClasses(t, m, "requeued requeued")
		if o := tx.Outcomes[0]; o.Stage != mail.StageLocal || !strings.Contains(o.Reply, "the lease has expired") {
			t.Errorf("%+v", o)
		}
		asked := 0
		m.Permit = func() error { asked++; return nil }
		b.wantClasses(t, m, "delivered delivered")
		if asked != 1 || b.server.Sessions() != 2 || b.server.Accepted() != 2 || !b.Up() {
			t.Errorf("asked %d times, %d sessions, %d messages, up %v", asked, b.server.Sessions(), b.server.Accepted(), b.Up())
		}
		if strings.Contains(b.server.Transcript(1), "C: .\r\nS: 250 2.0.0 Ok: queued as 1-2") {
			t.Error("the withheld dot was answered")
		}
	}
}

// TestBrokenBody: a message that cannot be opened, or read to its end, is never
// ended by a dot.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t), nil)
	b.wantClasses(t, mailWith("\r\n"), "delivered")
	m, gone := message(), errors.New("disk gone")
	m.Body = bodyFunc(func() (io.ReadCloser, error) { return nil, gone })
	if o := b.wantClasses(t, m, "requeued").Outcomes[0]; o.Stage != mail.StageLocal || !strings.Contains(o.Reply, "open the message: disk gone") {
		t.Errorf("%+v", o)
	}
	for _, size := range []int{0, 20, 3 * blockSize} {
		m = mailWith(strings.Repeat("0123456789abcde\r\n", 1<<14))
		body := &countedBody{Reader: io.MultiReader(io.LimitReader(bytesOf(t, m), int64(size)), iotest.ErrReader(gone))}
		m.Body = bodyFunc(func() (io.ReadCloser, error) { return body, nil })
		if o := b.wantClasses(t, m, "requeued").Outcomes[0]; o.Stage != mail.StageLocal || !strings.Contains(o.Reply, "read the message: disk gone") {
			t.Errorf("%+v", o)
		}
		if body.closed != 1 {
			t.Errorf("closed %d times", body.closed)
		}
	}
	// The body that could not be opened left its session to the next message.
	if s := b.server.Transcript(1); strings.Count(s, "C: MAIL") != 2 || b.server.Sessions() != 3 {
		t.Errorf("%d sessions, the first:\n%s", b.server.Sessions(), s)
	}
	m = message()
	m.Size++
	if o := b.wantClasses(t, m, "failed").Outcomes[0]; o.Stage != mail.StageLocal {
		t.Errorf("%+v", o)
	}
	if b.server.Accepted() != 1 || !b.Up() {
		t.Errorf("%d messages accepted, up %v", b.server.Accepted(), b.Up())
	}
}

// TestBodyIsStreamed: a body is read in blocks, never as a whole, from its
// beginning on each session that is tried, and closed each time.
func TestBodyIsStreamed(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	b := newBundle(t, smtptest.New(t, smtptest.Forget(), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Session == 1 && st.Verb == "MAIL" && st.Message == 2 {
			return &smtptest.Answer{HangUp: true}
		}
		return nil
	})), nil)
	b.wantClasses(t, message(), "delivered")
	var bodies []*countedBody
	m := message()
	m.Size = size
	m.Body = bodyFunc(func() (io.ReadCloser, error) {
		bodies = append(bodies, &countedBody{Reader: io.LimitReader(zeros{}, size)})
		return bodies[len(bodies)-1], nil
	})
	b.wantClasses(t, m, "delivered")
	if len(bodies) != 2 || bodies[0].n != 0 || bodies[1].n != size {
		t.Fatalf("%d bodies opened", len(bodies))
	}
	for i, body := range bodies {
		if body.closed != 1 || body.most > blockSize {
			t.Errorf("body %d was closed %d times, and read up to %d bytes at once", i, body.closed, body.most)
		}
	}
}

// countedBody is a body that counts how it is used.
type countedBody struct {
	io.Reader
	n, most, closed int
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n, c.most = c.n+n, max(c.most, len(p))
	return n, err
}

func (c *countedBody) Close() error { c.closed++; return nil }

// zeros is a body of "0" without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("0"), len(p))), nil }

func bytesOf(t *testing.T, m mail.Message) io.Reader {
	t.Helper()
	r, err := m.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOnlyOneNewSession: a relay that hangs up on new sessions too is tried only
// once more.
func TestOnlyOneNewSession(t *testing.T) {
	t.Parallel()
	var bad atomic.Bool
	b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "MAIL" && bad.Load() {
			return &smtptest.Answer{HangUp: true}
		}
		return nil
	})), nil)
	b.wantClasses(t, message(), "delivered")
	bad.Store(true)
	b.wantClasses(t, message(), "requeued")
	if n := b.server.Sessions(); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// TestRefusedThenGone: a clean refusal counts, even if the relay then hangs up on a
// session that was used before. At MAIL that session is given up in any case.
func TestRefusedThenGone(t *testing.T) {
	t.Parallel()
	for verb, class := range map[string]string{"MAIL": "delivered", "RCPT": "failed"} {
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == verb && st.Session == 1 && st.Message == 2 {
				return &smtptest.Answer{Reply: "550 5.7.1 no", HangUp: true}
			}
			return nil
		})), nil)
		b.wantClasses(t, message(), "delivered")
		b.wantClasses(t, message(), class)
		if n := b.server.Sessions(); n != map[string]int{"MAIL": 2, "RCPT": 1}[verb] {
			t.Errorf("%s: %d sessions", verb, n)
		}
		b.wantClasses(t, message(), "delivered")
	}
}

// TestFirstIsTheFirstSent: if the first recipient is not sent to at all, "too many"
// at the second one must not make it pending: that would never end.
func TestFirstIsTheFirstSent(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t, smtptest.On("RCPT", smtptest.Answer{Reply: "452 4.5.3 too many"})), nil)
	b.wantClasses(t, message("a b@x.test", "c@x.test", "d@x.test"), "failed deferred pending")
}

func TestQueueID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Ok: queued as 4Zx2Y31q9z":                                      "4Zx2Y31q9z",
		"OK, queued as <abc@host>":                                      "abc@host",
		"OK id=1tQ0aB-000000001-abcd":                                   "1tQ0aB-000000001-abcd",
		"51a2b3c4 Message accepted for delivery":                        "51a2b3c4",
		"51a2b3c4 message accepted for delivery / more":                 "51a2b3c4",
		"Ok 0102018f6a7b-11-22-000000":                                  "0102018f6a7b-11-22-000000",
		"OK 1700000000 abc12-20020a05.1 - gsmtp":                        "abc12-20020a05.1",
		"<id@host> [InternalId=1, Hostname=h] Queued mail for delivery": "",
		"<id@host> Queued mail for delivery":                            "id@host",
		"Ok":                                                            "",
		"Ok fine":                                                       "",
		"":                                                              "",
		"queued as":                                                     "",
		"thank you":                                                     "",
		"Message received: 20260101.ABC@host":                           "",
	} {
		if got := queueID(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestOutOfStepIsSaid: a relay that answers too often is not quoted as if it had
// judged the message.
func TestOutOfStepIsSaid(t *testing.T) {
	t.Parallel()
	s := smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "MAIL" {
			return &smtptest.Answer{Raw: "250 ok\r\n250 ok\r\n250 ok\r\n"}
		}
		return nil
	}))
	r := newTestRelay(t, testConfig("smtp://"+s.Addr()+"?tls=none"), &lines{})
	tx := r.Deliver(t.Context(), message())
	if o := tx.Outcomes[0]; o.Class != mail.Deferred || !strings.Contains(o.Reply, "out of step: it answered 250 ok") {
		t.Errorf("%+v", o)
	}
}

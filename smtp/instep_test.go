package smtp

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/mail"
)

// TestOneReplyTooMany, or too few: what follows would be taken for the replies to other
// commands, and mail that was refused called accepted. All of it is uncertain instead.
func TestOneReplyTooMany(t *testing.T) {
	t.Parallel()
	refused := []smtptest.Option{at("DOT", 2, smtptest.Answer{Reply: "554 5.6.0 spam"}), at("RCPT", 4, smtptest.Answer{Reply: "550 5.1.1 nobody"})}
	for reply, want := range map[string]string{
		"250 2.0.0 Ok: queued as 1\r\n250 2.0.0 Ok":              "delivered delivered uncertain uncertain uncertain",
		"250 2.0.0 Ok: queued as 1\r\n250 2.1.0 ok":              "delivered delivered uncertain uncertain uncertain",
		"250 2.0.0 Ok: queued as 1\r\n250 2.0.0 Ok: queued as 7": "delivered delivered uncertain uncertain uncertain",
		"250 2.0.0 Ok: queued as 1\r\n500 5.5.2 what":            "delivered delivered uncertain uncertain uncertain",
		"250 2.0.0 Ok: queued as 1\r\n550 5.7.1 no\r\n250 ok":    "delivered delivered uncertain uncertain uncertain",
		"\r\n": "delivered uncertain uncertain uncertain uncertain", // an empty line is no reply
	} {
		f := fly(t, byChunk, behindIt(4), append(refused, at("DOT", 1, smtptest.Answer{Raw: reply + "\r\n"}))...)
		f.want(t, want)
		if got := f.Capacity(); got != 1 {
			t.Errorf("%q: capacity %d", reply, got)
		}
	}
}

// TestBodyIsTakenForCommands: some relays do not discard a message that comes behind refused
// recipients. No reply that follows is believed, and no message goes so that has a line which
// reads as RCPT.
func TestBodyIsTakenForCommands(t *testing.T) {
	t.Parallel()
	nobody := smtptest.Answer{Reply: "550 5.1.1 nobody"}
	f := fly(t, byChunk, behindIt(3), at("RCPT", 1, nobody), at("RCPT", 3, nobody),
		at("BDAT", 1, smtptest.Answer{Raw: "502 5.5.1 Missing RCPT TO command.\r\n" + strings.Repeat("500 5.5.2 what\r\n", 3)}))
	f.want(t, "delivered failed uncertain uncertain")
	for _, line := range []string{"RCPT TO:<evil@x.test>", "rcpt to:<evil@x.test>", " \tRcpt\tTO:<evil@x.test>"} {
		f := fly(t, byChunk, nil)
		m := mailWith("Subject: evil\r\n\r\nMAIL FROM:<a@x.test>\r\n"+line+"\r\n", "a@x.test")
		m.From = "m1@x.test"
		f.start(t.Context(), m)
		f.want(t, "delivered delivered")
		if all := f.tape.find("m1@x.test"); len(all) != 1 || strings.Contains(all[0], "evil") {
			t.Errorf("%q goes with its envelope: %q", line, all)
		}
	}
}

// TestAlike: where the reply to RSET looks like another one, nobody would notice that the
// replies are out of step. Messages go with DATA then.
func TestAlike(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DOT"} {
		b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(byChunk, ",")...), smtptest.On(verb, smtptest.Answer{Reply: "250 2.0.0 ok"})), func(c *Config) { c.MaxSessions = 1 })
		for range 2 * widest {
			b.wantClasses(t, message(), "delivered")
		}
		if s := b.server.Transcript(1); strings.Count(s, "BDAT") > 2 || strings.Count(s, "C: DATA") != 2*widest-1 || b.Capacity() != 2 {
			t.Errorf("%s: capacity %d\n%s", verb, b.Capacity(), s)
		}
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	for _, same := range [][]reply{
		{{code: 250, enhanced: "2.0.0", lines: []string{"Ok"}}, {code: 250, enhanced: "2.0.0", lines: []string{"OK."}}},
		{{code: 250, enhanced: "2.0.0", lines: []string{"Ok: 66 bytes queued as 4C"}}, {code: 250, enhanced: "2.0.0", lines: []string{"Ok: 1066 bytes queued as 4D"}}},
		{{code: 250, enhanced: "2.1.5", lines: []string{"Flushed d2e1a72-7b9 - gsmtp"}}, {code: 250, enhanced: "2.1.5", lines: []string{"Flushed ffd3a22-9 - gsmtp"}}},
		{{code: 250, enhanced: "2.1.0", lines: []string{"<a@x.test>... Sender ok"}}, {code: 250, enhanced: "2.1.0", lines: []string{"<bb@x.test>... Sender ok"}}},
		{{code: 250}, {code: 250}},
	} {
		if same[0].kind() != same[1].kind() {
			t.Errorf("%q and %q", same[0].kind(), same[1].kind())
		}
	}
	for _, other := range [][]string{{"Ok", "Ok: queued as 1"}, {"Ok", "Ok: 66 bytes queued as 1"}, {"Reset OK", "OK id=1abc"}, {"Resetting", "Sender OK"}} {
		if a, b := (reply{code: 250, lines: other[:1]}).kind(), (reply{code: 250, lines: other[1:]}).kind(); a == b {
			t.Errorf("both are %q", a)
		}
	}
}

// TestHangUpAfterTheDot: the message behind goes on a new session, at no cost.
func TestHangUpAfterTheDot(t *testing.T) {
	t.Parallel()
	f := fly(t, byData, behindIt(1), at("DOT", 1, smtptest.Answer{Reply: "250 2.0.0 Ok: queued as 1", HangUp: true}))
	f.start(t.Context(), numbered(2))
	f.want(t, "delivered delivered delivered")
	if got := f.accepted(); got != "m0/1 m1/1 m2/2" {
		t.Errorf("accepted %s", got)
	}
}

// TestOneSilence: a dot that is not answered in time says nothing of PIPELINING. Only if it
// happens again, and nothing behind was accepted between, it is given up.
func TestOneSilence(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		silent := at("DOT", 1, smtptest.Answer{Stall: true})
		f := flyWith(t, byChunk, func(c *Config) { c.Timeouts.Dot = 300 * time.Millisecond }, nil, behindIt(1), silent)
		f.want(t, "delivered uncertain")
		if f.quirks().has(groups) {
			t.Errorf("PIPELINING is given up: %s", f.log)
		}
		if again {
			f.quirks().doubt(groups)
			if !f.quirks().has(groups) {
				t.Error("it is not given up the second time")
			}
			continue
		}
		for range calmAtFirst + widest {
			f.wantClasses(t, message(), "delivered")
		}
		if got := f.Capacity(); got != widest {
			t.Errorf("capacity %d after %d messages", got, calmAtFirst+widest)
		}
	}
}

// flyWith is fly with another configuration and connection.
func flyWith(t *testing.T, ext string, change func(*Config), wrap func(net.Conn) net.Conn, messages []mail.Message, opts ...smtptest.Option) *squadron {
	t.Helper()
	gate := make(chan struct{})
	opts = append(opts, held(gate), smtptest.Extensions(strings.Split(ext, ",")...))
	f := &squadron{bundle: newBundle(t, smtptest.New(t, opts...), func(c *Config) {
		c.MaxSessions = 1
		change(c)
	}), tape: &tape{}, release: sync.OnceFunc(func() { close(gate) })}
	t.Cleanup(f.release)
	dial := f.dialer.connect
	f.dialer.connect = func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if f.tape.Conn != nil || err != nil {
			return conn, err // the first session is watched
		}
		if wrap != nil {
			conn = wrap(conn)
		}
		f.tape.Conn = conn
		return f.tape, nil
	}
	for range widest {
		f.wantClasses(t, message(), "delivered")
	}
	f.start(t.Context(), numbered(0))
	testrun.Eventually(t, "message 0 to be sent", 10*time.Second, func() bool { return len(f.tape.find("Subject: test")) == widest+1 })
	for _, m := range messages {
		f.start(t.Context(), m)
		f.waitFor(t, "MAIL FROM:<"+m.From+">")
	}
	return f
}

// calling is a connection that calls a function when the relay says something.
type calling struct {
	net.Conn
	what string
	then func()
}

func (c *calling) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], []byte(c.what)) {
		c.then()
	}
	return n, err
}

// TestNonsenseAfterTheEnd: a line that is no reply comes when its message's context has just
// ended. It was in the place of a reply all the same, and those behind are out of step.
func TestNonsenseAfterTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := flyWith(t, byChunk, func(c *Config) { c.Timeouts = c.Timeouts.Within(2 * time.Second) },
		func(c net.Conn) net.Conn {
			return &calling{c, "thank you", func() {
				cancel()
				<-time.After(20 * time.Millisecond) // and everybody has seen it
			}}
		}, nil,
		at("DOT", 1, smtptest.Answer{Raw: "thank you\r\n", Delay: 50 * time.Millisecond}),
		smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "RCPT" && st.Address == "refused@x.test" {
				return &smtptest.Answer{Reply: "550 5.1.1 nobody"}
			}
			return nil
		}))
	f.start(ctx, numbered(1))
	f.waitFor(t, "m1@x.test")
	m := message("good@x.test", "refused@x.test")
	m.From = "m2@x.test"
	f.start(t.Context(), m)
	f.waitFor(t, "m2@x.test")
	f.start(t.Context(), numbered(3))
	f.waitFor(t, "m3@x.test")
	f.want(t, "delivered uncertain uncertain uncertain uncertain")
}

// TestGoneAtOneRecipient: the reply to one recipient is against the session. What was sent has
// replies of its own: the other recipient has the message.
func TestGoneAtOneRecipient(t *testing.T) {
	t.Parallel()
	m := message("a@x.test", "b@x.test")
	m.From = "m1@x.test"
	f := fly(t, byChunk, []mail.Message{m}, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "RCPT" && st.Address == "b@x.test" {
			return &smtptest.Answer{Reply: "450 4.7.0 too many connections"}
		}
		return nil
	}))
	f.want(t, "delivered delivered requeued")
	if f.quirks().has(chunks) {
		t.Errorf("CHUNKING is given up: %s", f.log)
	}
}

// TestEndsWhilePermitWaits: a message that waits for its permit while the session ends is not
// written any more, and goes on another one.
func TestEndsWhilePermitWaits(t *testing.T) {
	t.Parallel()
	asked, granted := make(chan struct{}), make(chan struct{})
	m, once := numbered(2), sync.Once{}
	m.Permit = func() error {
		once.Do(func() {
			close(asked)
			<-granted
		})
		return nil
	}
	f := fly(t, byChunk, behindIt(1), at("DOT", 1, smtptest.Answer{Raw: "thank you\r\n"}))
	f.start(t.Context(), m)
	<-asked
	f.release()
	if got := classes(<-f.results[1]); got != "uncertain" {
		t.Errorf("message 1 is %s", got)
	}
	close(granted)
	f.results = []chan mail.Transaction{f.results[0], f.results[2]}
	f.want(t, "delivered delivered")
	if got := f.accepted(); got != "m0/1 m2/2" {
		t.Errorf("accepted %s", got)
	}
}

// TestRaisedAfterClose: the timer that ends a lower limit may fire while the pool closes.
func TestRaisedAfterClose(t *testing.T) {
	t.Parallel()
	p := newPool(2)
	p.open = 2
	if !p.lower(1, time.Time{}, func(int) { t.Error("it is raised after the end") }) {
		t.Fatal("it was not lowered")
	}
	p.close()
	p.raised(func(int) { t.Error("it is raised after the end") })
}

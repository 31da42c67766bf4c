package smtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/mail"
)

// numbered is a message that a script can tell from others.
func numbered(i int) mail.Message {
	m := message()
	m.ID, m.From = fmt.Sprint("m", i), fmt.Sprintf("m%d@x.test", i)
	return m
}

// held is a relay that keeps the reply to the dot of message 0 until it is released.
func held(release <-chan struct{}) smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "DOT" && st.From == "m0@x.test" {
			return &smtptest.Answer{Until: release, Reply: "250 2.0.0 Ok: queued as 0"}
		}
		return nil
	})
}

// at answers a step of one message.
func at(verb string, i int, a smtptest.Answer) smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == verb && st.From == fmt.Sprintf("m%d@x.test", i) {
			return &a
		}
		return nil
	})
}

const (
	byData  = "PIPELINING,SIZE"
	byChunk = "PIPELINING,SIZE,CHUNKING"
)

// tape is a connection that remembers what was written, write by write.
type tape struct {
	net.Conn
	mu     sync.Mutex
	writes []string
}

func (c *tape) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, string(p))
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// find returns the writes that hold s.
func (c *tape) find(s string) (found []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.writes {
		if strings.Contains(w, s) {
			found = append(found, w)
		}
	}
	return found
}

// squadron is a relay with one session, and messages that are in the air on it.
type squadron struct {
	*bundle
	tape    *tape
	release func()
	results []chan mail.Transaction
}

// fly sends these messages one after the other behind message 0, whose reply waits, and
// returns when all are in the air. Their session was used before, and the window is open.
func fly(t *testing.T, ext string, messages []mail.Message, opts ...smtptest.Option) *squadron {
	t.Helper()
	gate := make(chan struct{})
	opts = append(opts, held(gate), smtptest.Extensions(strings.Split(ext, ",")...))
	f := &squadron{bundle: newBundle(t, smtptest.New(t, opts...), func(c *Config) { c.MaxSessions = 1 }), tape: &tape{}, release: sync.OnceFunc(func() { close(gate) })}
	t.Cleanup(f.release)
	dial := f.dialer.connect
	f.dialer.connect = func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if f.tape.Conn != nil || err != nil {
			return conn, err // the first session is watched
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

// behindIt are n messages behind message 0.
func behindIt(n int) (all []mail.Message) {
	for i := range n {
		all = append(all, numbered(i+1))
	}
	return all
}

func (f *squadron) start(ctx context.Context, m mail.Message) {
	result := make(chan mail.Transaction, 1)
	f.results = append(f.results, result)
	go func() { result <- f.Deliver(ctx, m) }()
}

func (f *squadron) waitFor(t *testing.T, written string) {
	t.Helper()
	testrun.Eventually(t, written+" to be written", 10*time.Second, func() bool { return len(f.tape.find(written)) > 0 })
}

// want releases message 0 and compares the classes of all outcomes.
func (f *squadron) want(t *testing.T, want string) (all []mail.Transaction) {
	t.Helper()
	f.release()
	var got []string
	for _, r := range f.results {
		tx := <-r
		all, got = append(all, tx), append(got, classes(tx))
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("outcomes %q, want %q: %+v\n%s", s, want, all, f.server.Transcript(1))
	}
	return all
}

// accepted are the senders of what the relay accepted, without those that opened the
// window, with the number of the session.
func (f *squadron) accepted() string {
	var s []string
	for _, m := range f.server.Messages()[widest:] {
		from, _, _ := strings.Cut(m.From, "@")
		s = append(s, fmt.Sprint(from, "/", m.Session))
	}
	return strings.Join(s, " ")
}

// TestBehindTheDot: with PIPELINING the next envelope is written behind the dot, and
// nothing more; its body waits for the reply to DATA.
func TestBehindTheDot(t *testing.T) {
	t.Parallel()
	f := fly(t, byData, behindIt(1))
	f.start(t.Context(), numbered(2))
	last := f.tape.find("m1@x.test")
	if want := "RSET\r\nMAIL FROM:<m1@x.test> SIZE=66\r\nRCPT TO:<a@x.test>\r\nDATA\r\n"; len(last) != 1 || last[0] != want {
		t.Errorf("behind the dot: %q", last)
	}
	f.want(t, "delivered delivered delivered")
	if got := f.accepted(); got != "m0/1 m1/1 m2/1" {
		t.Errorf("accepted %s", got)
	}
	if n := len(f.tape.find("Subject: test")); n != widest+3 {
		t.Errorf("%d bodies were written", n)
	}
	if got := f.Capacity(); got != 2 {
		t.Errorf("capacity %d", got)
	}
}

// TestAtOnce: with CHUNKING whole messages are written behind each other, each in one
// write, up to the window; the next one waits.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	f := fly(t, byChunk, behindIt(widest-1))
	f.start(t.Context(), numbered(widest))
	for i := 1; i < widest; i++ {
		want := fmt.Sprintf("RSET\r\nMAIL FROM:<m%d@x.test> SIZE=66\r\nRCPT TO:<a@x.test>\r\nBDAT 66 LAST\r\n%s", i, smallBody)
		if got := f.tape.find(fmt.Sprintf("m%d@x.test", i)); len(got) != 1 || got[0] != want {
			t.Errorf("message %d: %q, want %q", i, got, want)
		}
	}
	if got := f.tape.find(fmt.Sprintf("m%d@x.test", widest)); len(got) > 0 || f.Capacity() != widest {
		t.Errorf("beyond the window: %q, capacity %d", got, f.Capacity())
	}
	var all, want []string
	for i := range widest + 1 {
		all, want = append(all, "delivered"), append(want, fmt.Sprintf("m%d/1", i))
	}
	f.want(t, strings.Join(all, " "))
	if got := f.accepted(); got != strings.Join(want, " ") {
		t.Errorf("accepted %s", got)
	}
	if n := len(f.tape.find("BDAT 15\r\nSubject: test\r\n")); n != 1 {
		t.Errorf("the session was asked %d times whether it knows BDAT", n)
	}
	if all := f.server.Messages(); string(all[len(all)-1].Data) != smallBody {
		t.Errorf("the body came out as %q", all[len(all)-1].Data)
	}
}

// TestCapacity: the window begins at one, opens with each message that is accepted, and
// is one again after a session has broken from DATA on.
func TestCapacity(t *testing.T) {
	t.Parallel()
	for ext, most := range map[string]int{"X": 1, "CHUNKING": 1, byData: 2, byChunk: widest} {
		b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(ext, ",")...), at("DOT", 1, smtptest.Answer{HangUp: true})), func(c *Config) { c.MaxSessions = 3 })
		grows := func() {
			t.Helper()
			for i := range widest {
				if got, want := b.Capacity(), 3*min(i+1, most); got != want {
					t.Errorf("%s: capacity %d after %d messages, want %d", ext, got, i, want)
				}
				b.wantClasses(t, message(), "delivered")
			}
		}
		grows()
		for range 2 {
			b.wantClasses(t, numbered(1), "uncertain")
			calm := b.pool.window.calm
			for range calm {
				if got := b.Capacity(); got != 3 {
					t.Errorf("%s: capacity %d after a break", ext, got)
				}
				b.wantClasses(t, message(), "delivered")
			}
			grows()
		}
		if got := b.pool.window.next; got != 4*calmAtFirst {
			t.Errorf("%s: after the next break %d messages have to be accepted", ext, got)
		}
		b.pool.lower(1, time.Time{}, func(int) {})
	}
}

// TestFarewell: relays close sessions with 421 after so many messages. That costs a new
// session and nothing else.
func TestFarewell(t *testing.T) {
	t.Parallel()
	const n, each = 300, 10
	for name, a := range map[string]struct {
		verb    string
		message int
		answer  smtptest.Answer
	}{
		"at MAIL":       {"MAIL", each + 1, smtptest.Answer{Reply: "421 4.7.0 too many messages in this session", HangUp: true}},
		"after the dot": {"DOT", each, smtptest.Answer{Reply: "250 2.0.0 Ok: queued as 1\r\n421 4.7.0 too many messages", HangUp: true}},
		"at RSET":       {"RSET", each, smtptest.Answer{Reply: "421 4.7.0 too many messages", HangUp: true}},
	} {
		for _, ext := range []string{byData, byChunk} {
			t.Run(name+" "+ext, func(t *testing.T) {
				t.Parallel()
				b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(ext, ",")...), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
					if st.Verb == a.verb && st.Message == a.message {
						return &a.answer
					}
					return nil
				})), func(c *Config) { c.MaxSessions = 2 })
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						for range n / 20 {
							if tx := b.Deliver(t.Context(), message()); classes(tx) != "delivered" {
								t.Errorf("%+v", tx.Outcomes)
							}
						}
					})
				}
				wg.Wait()
				if got := b.server.Accepted(); got != n || b.server.Sessions() > n/each+2 {
					t.Errorf("accepted %d in %d sessions", got, b.server.Sessions())
				}
			})
		}
	}
}

// TestHangUpInTheAir: what was sent and not answered is uncertain, everything else goes
// on a new session, at no cost.
func TestHangUpInTheAir(t *testing.T) {
	t.Parallel()
	for _, a := range []smtptest.Answer{{HangUp: true}, {Reset: true}, {Raw: "thank you\r\n", HangUp: true}, {Raw: "25", HangUp: true}} {
		f := fly(t, byChunk, behindIt(5), at("DOT", 2, a))
		f.want(t, "delivered delivered uncertain uncertain uncertain uncertain")
		if got := f.accepted(); got != "m0/1 m1/1" || f.Capacity() != 1 || !f.Up() {
			t.Errorf("accepted %s, capacity %d, up %v", got, f.Capacity(), f.Up())
		}
		f = fly(t, byData, behindIt(1), at("DOT", 1, a))
		f.start(t.Context(), numbered(2))
		f.want(t, "delivered uncertain delivered")
		if got := f.accepted(); got != "m0/1 m2/2" {
			t.Errorf("accepted %s", got)
		}
	}
	// The body of the second one was never sent.
	f := fly(t, byData, nil)
	f.start(t.Context(), numbered(1))
	f.waitFor(t, "m1@x.test")
	f.tape.Close()
	f.want(t, "uncertain delivered")
	if got := f.accepted(); !strings.HasSuffix(got, "m1/2") {
		t.Errorf("accepted %s", got)
	}
}

// TestFarewellInTheAir: what comes behind a 421 was not executed, at whatever step it is
// said.
func TestFarewellInTheAir(t *testing.T) {
	t.Parallel()
	for verb, c := range map[string]struct{ outcome, accepted string }{
		"MAIL": {"delivered", "m0/1 m1/1 m2/2 m3/2 m4/2 m5/2"}, "RCPT": {"requeued", "m0/1 m1/1 m3/2 m4/2 m5/2"}, "DOT": {"deferred", "m0/1 m1/1 m3/2 m4/2 m5/2"},
	} {
		given := false
		f := fly(t, byChunk, behindIt(5), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == verb && st.From == "m2@x.test" && !given {
				given = true
				return &smtptest.Answer{Reply: "421 4.3.2 closing", HangUp: true}
			}
			return nil
		}))
		f.want(t, "delivered delivered "+c.outcome+" delivered delivered delivered")
		got := strings.Fields(f.accepted())
		slices.Sort(got)
		if s := strings.Join(got, " "); s != c.accepted || f.server.Sessions() != 2 {
			t.Errorf("%s: accepted %s in %d sessions", verb, s, f.server.Sessions())
		}
	}
}

// TestEachItsOwn: one message between others is refused. Each has its own outcome, and
// those behind it are not hurt.
func TestEachItsOwn(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{byData, byChunk} {
		for _, c := range []struct{ verb, reply, outcome string }{
			{"RCPT", "550 5.1.1 nobody", "failed"}, {"RCPT", "451 4.2.1 later", "deferred"}, {"DOT", "554 5.6.0 no", "failed"}, {"DOT", "451 4.3.0 later", "deferred"},
			{"MAIL", "550 5.7.1 not you", "failed"}, {"MAIL", "450 4.7.1 greylisted", "deferred"}, {"DOT", "552 5.3.4 too big", "failed"}, {"MAIL", "555 5.5.4 unsupported", "failed"},
		} {
			n := 5
			if ext == byData {
				n = 1
			}
			f := fly(t, ext, behindIt(n), at(c.verb, 1, smtptest.Answer{Reply: c.reply}))
			for i := n + 1; i <= 5; i++ {
				f.start(t.Context(), numbered(i))
			}
			f.want(t, "delivered "+c.outcome+" delivered delivered delivered delivered")
			if got := len(strings.Fields(f.accepted())); got != 5 || !f.Up() || f.quirks().has(groups) || f.quirks().has(chunks) {
				t.Errorf("%s %s: accepted %d:\n%s", c.verb, c.reply, got, f.log)
			}
		}
	}
}

// TestLeftInTheAir: a context that ends takes its own message out of the air and leaves
// the others alone, also in the middle of a reply.
func TestLeftInTheAir(t *testing.T) {
	t.Parallel()
	for _, released := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		f := fly(t, byChunk, nil, at("DOT", 1, smtptest.Answer{Reply: "250-2.0.0 Ok\r\n250 2.0.0 queued as 1", Drip: 5 * time.Millisecond}))
		f.start(ctx, numbered(1))
		f.waitFor(t, "m1@x.test")
		f.start(t.Context(), numbered(2))
		f.waitFor(t, "m2@x.test")
		if released {
			f.release() // and the reply to message 1 begins
			testrun.Eventually(t, "message 1", 10*time.Second, func() bool { return f.server.Accepted() == widest+2 })
		}
		cancel()
		if got := classes(<-f.results[1]); got != "uncertain" {
			t.Errorf("the one that was left is %s", got)
		}
		f.results = slices.Delete(f.results, 1, 2)
		f.want(t, "delivered delivered")
		if got := f.accepted(); got != "m0/1 m1/1 m2/1" {
			t.Errorf("accepted %s", got)
		}
	}
	// It was not sent to its end, so nobody is behind it, and its session closes.
	ctx, cancel := context.WithCancel(t.Context())
	f := fly(t, byData, nil)
	f.start(ctx, numbered(1))
	f.waitFor(t, "m1@x.test")
	cancel()
	if got := classes(<-f.results[1]); got != "requeued" {
		t.Errorf("the one that was left is %s", got)
	}
	f.results = f.results[:1]
	f.start(t.Context(), numbered(2))
	f.want(t, "delivered delivered")
	if got := f.accepted(); got != "m0/1 m2/2" {
		t.Errorf("accepted %s", got)
	}
}

// TestCloseInTheAir: Close waits for what is in the air; what it has to cut off is
// uncertain if it was sent.
func TestCloseInTheAir(t *testing.T) {
	t.Parallel()
	for ext, want := range map[string]string{byChunk: "uncertain uncertain", byData: "uncertain requeued"} {
		f := fly(t, ext, behindIt(1))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := f.Close(ctx); err == nil {
			t.Error("Close did not wait")
		}
		cancel()
		f.want(t, want)
	}
	f := fly(t, byChunk, behindIt(3))
	closed := make(chan error)
	go func() { closed <- f.Close(t.Context()) }()
	<-f.pool.closing
	f.want(t, "delivered delivered delivered delivered")
	if err := <-closed; err != nil || !strings.HasSuffix(f.server.Transcript(1), "C: QUIT\r\nS: 221 2.0.0 bye\r\n") {
		t.Errorf("Close: %v", err)
	}
}

// TestAlone: such a message has nothing before or behind it, and those that come later do
// not overtake it.
func TestAlone(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{byData, byChunk} {
		gate := make(chan struct{})
		f := fly(t, ext, nil, at("DOT", 1, smtptest.Answer{Until: gate, Reply: "250 2.0.0 ok"}))
		m := numbered(1)
		m.Alone = true
		f.start(t.Context(), m)
		testrun.Eventually(t, "it to wait", 10*time.Second, func() bool { return f.waiting() == 1 })
		f.start(t.Context(), numbered(2))
		testrun.Eventually(t, "the next one to wait", 10*time.Second, func() bool { return f.waiting() == 2 })
		if len(f.tape.find("m1@x.test")) > 0 {
			t.Error("it did not wait")
		}
		f.release()
		testrun.Eventually(t, "its dot", 10*time.Second, func() bool { return f.server.Accepted() == widest+2 })
		if f.waiting() != 1 || len(f.tape.find("m2@x.test")) > 0 {
			t.Error("another one was sent behind it")
		}
		close(gate)
		f.want(t, "delivered delivered delivered")
		if last := f.tape.find("m1@x.test"); strings.Contains(last[0], "BDAT 66") || strings.Contains(last[0], "RSET") {
			t.Errorf("it was sent as %q", last)
		}
	}
}

// TestAloneToo: so is what tries a relay that was at fault, and what others have made leave
// a session again and again.
func TestAloneToo(t *testing.T) {
	t.Parallel()
	m := message()
	for want, d := range map[bool][]delivery{false: {{}, {moved: mostMoves - 1}}, true: {{turn: 1}, {moved: mostMoves}}} {
		for _, d := range d {
			if d.m = &m; d.alone() != want {
				t.Errorf("turn %d, moved %d: alone %v", d.turn, d.moved, !want)
			}
		}
	}
}

func (b *bundle) waiting() int {
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	return len(b.pool.waiters)
}

// TestLargeWaits: a large message waits for the replies to RCPT, so that it is not sent in
// vain, and goes in blocks then.
func TestLargeWaits(t *testing.T) {
	t.Parallel()
	large := func(i int) mail.Message {
		m := mailWith(long[:17<<16])
		m.From = numbered(i).From
		return m
	}
	f := fly(t, byChunk, []mail.Message{large(1)}, at("RCPT", 2, smtptest.Answer{Reply: "550 5.1.1 nobody"}))
	f.start(t.Context(), large(2))
	f.start(t.Context(), large(3))
	f.want(t, "delivered delivered failed delivered")
	if got := f.accepted(); got != "m0/1 m1/1 m3/1" || len(f.tape.find("BDAT 1114112 LAST\r\n")) != 2 {
		t.Errorf("accepted %s", got)
	}
	for _, m := range f.server.Messages()[widest+1:] {
		if string(m.Data) != long[:17<<16] {
			t.Errorf("%d bytes came out different", len(m.Data))
		}
	}
}

// TestPermitOfChunks: the last byte of a message, wherever it falls in a block, is not
// sent before Permit has agreed.
func TestPermitOfChunks(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(byChunk, ",")...)), nil)
	for around := range 80 {
		size := 2*blockSize - 60 + around
		m := mailWith("Subject: x\r\n" + strings.Repeat("x", size-14) + "\r\n")
		b.wantClasses(t, m, "delivered") // so that the session is proven
		before := b.server.Accepted()
		m.Permit = func() error { return errors.New("the lease has expired") }
		b.wantClasses(t, m, "requeued")
		b.wantClasses(t, message(), "delivered")
		if got := b.server.Accepted(); got != before+1 {
			t.Fatalf("%d bytes: the relay accepted %d messages without a permit", size, got-before-1)
		}
	}
}

// TestLineEnds: a message whose line ends are not all CRLF has another size on the wire
// than BDAT would announce. It goes with DATA.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"LF": "a\nb\r\n", "CR": "a\rb\r\n", "CR at the end": "a\r\nb\r", "no end": "a\r\nb", "large": long[:17<<13] + "\n" + long[:17<<13], "large, no end": long[:17<<13] + "x", "split": strings.Repeat("x", blockSize-1) + "\r\n.\r\n" + long[:17<<12]} {
		bad := mailWith(body)
		bad.From = "m1@x.test"
		f := fly(t, byChunk, nil)
		f.start(t.Context(), bad)
		f.start(t.Context(), numbered(2))
		f.want(t, "delivered delivered delivered")
		var got string
		for _, m := range f.server.Messages() {
			if m.From == bad.From {
				got += string(m.Data)
			}
		}
		if got != canonical([]byte(body)) {
			t.Errorf("%s: it came out as %.40q", name, got)
		}
		if s := f.server.Transcript(1) + f.server.Transcript(2); strings.Contains(s, "C: DATA\r\n") != (canonical([]byte(body)) != body) {
			t.Errorf("%s: %.2000s", name, s)
		}
	}
}

// TestCannotChunk: a relay that offers CHUNKING and refuses BDAT, or does not answer it,
// gets messages with DATA for a day. Content is never taken for commands.
func TestCannotChunk(t *testing.T) {
	t.Parallel()
	const evil = "Subject: x\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@x.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n"
	for _, ext := range []string{"CHUNKING", byChunk} {
		for _, a := range []smtptest.Answer{
			{Reply: "500 5.5.1 what"}, {Reply: "502 5.5.1 no"}, {Reply: "503 5.5.1 bad sequence"}, {Reply: "504 no"}, {HangUp: true}, {Reply: "221 bye", HangUp: true}, {Reply: "354 go ahead"},
		} {
			b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(ext, ",")...), smtptest.On("BDAT", a)), nil)
			for i := range 4 {
				got := classes(b.deliver(t, mailWith(evil)))
				if asked := a.HangUp || a.Reply[0] == '3'; got != "delivered" && (!asked || i > 0 || got != "requeued") {
					t.Errorf("%s %+v: message %d is %s", ext, a, i, got)
				}
			}
			if b.log.count("SMTP_DISCARD_EHLO=CHUNKING") != 1 || b.log.count("level=") != 1 {
				t.Errorf("%s %+v: %s", ext, a, b.log)
			}
			for _, m := range b.server.Messages() {
				if m.From != "sender@x.test" || string(m.Data) != evil {
					t.Errorf("%s %+v: the relay accepted %+v", ext, a, m)
				}
			}
		}
	}
	// The parameter of MAIL is refused too, so that MAIL is said again.
	for _, ext := range []string{"CHUNKING", byChunk} {
		b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(ext+",SIZE", ",")...), smtptest.On("BDAT", smtptest.Answer{Reply: "500 5.5.1 what"}), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && st.Session == 1 && st.Message == 1 {
				return &smtptest.Answer{Reply: "555 5.5.4 SIZE"}
			}
			return nil
		})), nil)
		for range 3 {
			b.wantClasses(t, message(), "delivered")
		}
	}
	b := newBundle(t, smtptest.New(t, smtptest.Extensions("CHUNKING")), func(c *Config) { c.DiscardEHLO = "chunking" })
	b.wantClasses(t, message(), "delivered")
	if s := b.server.Transcript(1); strings.Contains(s, "BDAT") {
		t.Errorf("it is used all the same:\n%s", s)
	}
}

// TestChunkRefused: a relay that knows BDAT refuses it all the same. The message goes with
// DATA; those behind it are uncertain if the relay took the content for commands.
func TestChunkRefused(t *testing.T) {
	t.Parallel()
	for reply, behind := range map[string]string{"500 5.5.1 what": "uncertain", "502 5.5.1 no": "uncertain", "504 5.5.4 no": "uncertain", "503 5.5.1 bad sequence": "delivered"} {
		f := fly(t, byChunk, behindIt(2), at("BDAT", 1, smtptest.Answer{Reply: reply}))
		f.want(t, "delivered delivered "+behind)
		if !f.quirks().has(chunks) {
			t.Errorf("%s: %s", reply, f.log)
		}
	}
}

// TestRefusedAndTaken: a relay refuses MAIL and accepts what comes behind it. It has the
// message then, and nobody knows for whom.
func TestRefusedAndTaken(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"550 5.7.1 not you", "501 5.5.4 parameter", "450 4.7.1 greylisted", "503 5.5.1 bad sequence"} {
		f := fly(t, byChunk, behindIt(2), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Verb == "MAIL" && st.Address == "m1@x.test":
				return &smtptest.Answer{Reply: reply}
			case st.Verb == "RCPT":
				return &smtptest.Answer{Reply: "250 2.1.5 ok"}
			case st.Verb == "BDAT" || st.Verb == "DOT" && st.From == "":
				return &smtptest.Answer{Reply: "250 2.0.0 taken"}
			}
			return nil
		}))
		f.want(t, "delivered uncertain delivered")
		if !f.quirks().has(chunks) || len(f.server.Messages()) != widest+3 {
			t.Errorf("%s: the relay is still believed\n%s", reply, f.log)
		}
	}
}

// TestCannotBeBehind: a relay can do groups, but not behind a dot. They are given up.
func TestCannotBeBehind(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func([]string) []string{
		"all are lost":      func([]string) []string { return []string{} },
		"the first is lost": func(group []string) []string { return group[1:] },
		"the first is kept": func(group []string) []string { return group[:1] },
	} {
		for _, ext := range []string{byData, byChunk} {
			b := newBundle(t, smtptest.New(t, smtptest.Extensions(strings.Split(ext, ",")...)), func(c *Config) {
				c.MaxSessions, c.Timeouts = 1, c.Timeouts.Within(300*time.Millisecond)
			})
			dial := b.dialer.connect
			b.dialer.connect = func(ctx context.Context, addr string) (net.Conn, error) {
				conn, err := dial(ctx, addr)
				return &deafBehind{Conn: conn, way: way}, err
			}
			var mu sync.Mutex
			counts := map[string]int{}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 20 {
						got := classes(b.Deliver(t.Context(), message()))
						mu.Lock()
						counts[got]++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if !b.quirks().has(groups) || counts["delivered"] < 80-widest || counts["uncertain"] > widest || b.log.count("SMTP_DISCARD_EHLO=PIPELINING") != 1 {
				t.Errorf("%s, %s: %v\n%s", name, ext, counts, b.log)
			}
		}
	}
}

// deafBehind is a connection to a relay that does something to what comes behind a
// message.
type deafBehind struct {
	net.Conn
	way func([]string) []string
}

func (d *deafBehind) Write(p []byte) (int, error) {
	envelope, rest := string(p), ""
	if !strings.HasPrefix(envelope, "RSET\r\nMAIL") {
		return d.Conn.Write(p)
	}
	if i := strings.Index(envelope, "BDAT"); i >= 0 {
		envelope, rest = envelope[:i], envelope[i:]
	}
	lines := d.way(slices.Collect(strings.Lines(envelope)))
	if len(lines) == 0 {
		rest = ""
	}
	_, err := d.Conn.Write([]byte(strings.Join(lines, "") + rest))
	return len(p), err
}

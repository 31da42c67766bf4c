package smtp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

// noReply are the ways in which a relay can give no reply, as
// testdata/replies.txt explains them.
var noReply = slices.Sorted(maps.Keys(smtptest.NoReply("")))

// noAnswer is one of noReply; false if the row has a reply.
func (r row) noAnswer() (smtptest.Answer, bool) {
	a, ok := smtptest.NoReply(smtptest.Yes(r.stage))[r.reply]
	a.HangUp = a.HangUp || r.stage == "BODY" && !a.Stall
	return a, ok
}

// slow reports a row that is about time. It runs in a synctest bubble, in which
// time is exact and costs nothing.
func (r row) slow() bool {
	return slices.Contains([]string{"SILENCE", "HALF-SILENCE", "DRIP"}, r.reply)
}

// deadline is how long a step may take in all: the minimum of RFC 5321 section
// 4.5.3.2 if there is one, or less if waiting would gain nothing.
func (r row) deadline() time.Duration {
	return map[string]time.Duration{
		"CONNECT":  time.Minute, // other mail waits for this relay
		"EHLO":     5 * time.Minute,
		"STARTTLS": time.Minute,
		"AUTH":     5 * time.Minute,
		"MAIL":     5 * time.Minute,
		"RCPT":     5 * time.Minute,
		"DATA":     3 * time.Minute,
		"BODY":     3*time.Minute + 5*time.Second, // one block, and the relay's last words
		"DOT":      10 * time.Minute,
		"RSET":     10 * time.Second, // another session costs less
		"QUIT":     2 * time.Second,  // nothing depends on it
	}[r.stage]
}

// TestEveryCell: testdata/replies.txt is complete.
func TestEveryCell(t *testing.T) {
	t.Parallel()
	type cell struct{ stage, session, reply string }
	seen := map[cell]bool{}
	for _, r := range readRows(t) {
		what := r.reply
		switch {
		case r.outcome == "never":
			what = "never"
		case strings.HasPrefix(r.lastLine(), "421"):
			what = "421"
		case !slices.Contains(noReply, what):
			what = what[:1] + "yz"
		}
		seen[cell{r.stage, r.session, what}] = true
	}
	for stage := range strings.FieldsSeq("CONNECT EHLO STARTTLS AUTH MAIL RCPT DATA BODY DOT RSET QUIT") {
		for _, session := range []string{"fresh", "reused"} {
			for _, what := range append(noReply, "4yz", "5yz", "421") {
				never := cell{stage, session, "never"}
				if c := (cell{stage, session, what}); !seen[c] && !seen[never] {
					t.Errorf("no row for %v", c)
				}
			}
		}
	}
}

// TestUnasked: a reply that comes together with the one before it answers nothing,
// least of all the dot.
func TestUnasked(t *testing.T) {
	t.Parallel()
	for stage, want := range map[string]string{
		"CONNECT": "requeued", "EHLO": "requeued", "AUTH": "requeued", "MAIL": "requeued", "RCPT": "deferred", "DATA": "deferred",
		"DOT": "delivered", "RSET": "delivered",
	} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			b := newListening(t, credentials, smtptest.Auth("user", secret), smtptest.Extensions("plain"), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
				switch {
				case st.Session > 1:
					return nil
				case stage == "RSET" && st.Verb == "RCPT":
					return &smtptest.Answer{Reply: "550 nobody"}
				case st.Verb == stage:
					offer := map[string]string{"EHLO": "250-relay.test\r\n250-AUTH PLAIN\r\n"}[stage]
					return &smtptest.Answer{Reply: offer + smtptest.Yes(stage) + " ok\r\n250 2.0.0 Ok: queued as 1"}
				}
				return nil
			}))
			if stage == "RSET" {
				b.wantClasses(t, message(), "failed")
			}
			tx := b.wantClasses(t, message(), want)
			if want != "delivered" && !strings.Contains(tx.Outcomes[0].Reply, errOutOfStep.Error()) {
				t.Errorf("the outcome says %q", tx.Outcomes[0].Reply)
			}
			if n := b.server.Accepted(); n > 0 != (want == "delivered") {
				t.Errorf("the relay accepted %d", n)
			}
			if b.Up() {
				b.wantClasses(t, message(), "delivered")
				if b.server.Sessions() != 2 {
					t.Error("the next message went through the same session")
				}
			}
		})
	}
}

// TestLiberalReplies: three digits and then no digit are a code, and an empty line
// between replies is none.
func TestLiberalReplies(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"250ok\r\n": "250 ok", "250\tok\r\n": "250 ok", "250 ok\r\n": "250 ok", "250\r\n": "250", "250\n": "250", "250: ok\r\n": "250 : ok",
		"250-a\r\n250b\r\n": "250 a / b", "250-a\r\n250\tb\r\n": "250 a / b", "\r\n\n\r\n250 ok\r\n": "250 ok", "\r\n250-a\r\n250 b\r\n": "250 a / b",
		"550\t5.1.1 nobody\r\n": "550 5.1.1 nobody", "2500 ok\r\n": "", "250-a\r\n\r\n250 b\r\n": "", "25 ok\r\n": "", strings.Repeat("\r\n", 5000): "",
	} {
		r, err := readReply(bufio.NewReader(strings.NewReader(said)), nil)
		got := sayReply(r.code, r.enhanced, r.text())
		if want == "" && !errors.Is(err, errOutOfStep) || want != "" && (err != nil || got != want) {
			t.Errorf("%.30q: %q, %v, want %q", said, got, err, want)
		}
	}
}

// TestEmptyLines: a relay that sends an empty line after each reply, in the same
// segment or later, is understood.
func TestEmptyLines(t *testing.T) {
	t.Parallel()
	for _, ext := range []string{"PIPELINING", "plain"} {
		b := newListening(t, nil, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch st.Verb {
			case "EHLO":
				return &smtptest.Answer{Reply: "250-relay.test\r\n250 " + ext + "\r\n"}
			case "BODY":
				return &smtptest.Answer{Raw: "\r\n"}
			}
			return &smtptest.Answer{Reply: smtptest.Yes(st.Verb) + " ok\r\n"}
		}))
		for range 3 {
			b.wantClasses(t, message(), "delivered")
			b.wantClasses(t, mailWith(strings.Repeat("0123456789abcde\r\n", 1<<14)), "delivered")
		}
		if n := b.server.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	}
}

// TestSaidWhileIdle: what a relay says while a session is idle is no reply to the next
// command: the message gets a new session, at no cost.
func TestSaidWhileIdle(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"250 ok", "451 4.4.2 idle too long", "550 5.7.0 idle too long", "421 4.4.2 bye"} {
		for _, idle := range []time.Duration{2 * time.Second, 7 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				b := newPiped(t, nil)
				var theirs net.Conn
				dial := b.dialer.connect
				b.dialer.connect = func(ctx context.Context, addr string) (net.Conn, error) {
					conn, err := dial(ctx, addr)
					if b.server.Sessions() > 0 || theirs != nil {
						return conn, err
					}
					ours, other := net.Pipe()
					theirs = other
					go func() { _, _ = io.Copy(conn, other) }()
					go func() { _, _ = io.Copy(other, conn) }()
					return ours, err
				}
				b.wantClasses(t, message(), "delivered")
				go func() { _, _ = io.WriteString(theirs, said+"\r\n") }()
				time.Sleep(idle)
				b.wantClasses(t, message(), "delivered")
				if got := b.server.Messages(); b.server.Sessions() != 2 || len(got) != 2 || got[1].Session != 2 || !b.Up() {
					t.Errorf("%s: %d sessions, %+v", said, b.server.Sessions(), got)
				}
				theirs.Close()
			})
		}
	}
}

// TestRefusedOnReused: a session that was used before and is refused at MAIL is given
// up for a new one once; what that one is told counts.
func TestRefusedOnReused(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{"450 4.7.1 greylisted": "deferred", "550 5.7.1 no": "failed", "452 4.3.1 full": "requeued"} {
		b := newListening(t, nil, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && st.From == "bad@x.test" {
				return &smtptest.Answer{Reply: reply}
			}
			return nil
		}))
		b.wantClasses(t, message(), "delivered")
		m := message()
		m.From = "bad@x.test"
		b.wantClasses(t, m, want)
		if n := b.server.Sessions(); n != 2 || strings.Count(b.server.Transcript(2), "C: MAIL") != 1 {
			t.Errorf("%s: %d sessions", reply, n)
		}
	}
}

// TestFloodMemory: an endless reply is read only up to the bounds of a reply, and
// little of it is kept. It runs beside no other test, because it measures
// allocations.
func TestFloodMemory(t *testing.T) {
	for name, part := range map[string]string{
		"lines": "250-2.0.0 and\r\n", "long lines": "250-" + strings.Repeat("x", 1900) + "\r\n", "empty lines": "250-\n", "no line": "250 xxxxxxxx",
	} {
		flood := &endless{part: part}
		br := bufio.NewReaderSize(flood, 2*maxReplyLine)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readReply(br, nil)
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-11s %6d bytes read, %6d bytes allocated: %v", name, flood.read, allocated, err)
		if !errors.Is(err, errOutOfStep) || flood.read > 70<<10 || allocated > 100<<10 {
			t.Errorf("%s: %v after %d bytes, %d allocated", name, err, flood.read, allocated)
		}
	}
}

// endless repeats a part for ever.
type endless struct {
	part string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.part[(e.read+n)%len(e.part):])
	}
	e.read += n
	return n, nil
}

// TestReplyBeforeTheEnd: a reply that came before the connection ended is read. Of a dot it
// says that the message was accepted, and then it must not be sent again.
func TestReplyBeforeTheEnd(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	w := newWire(ours, echoes{})
	go func() { _, _ = io.WriteString(theirs, "250 2.1.5 ok\r\n250 2.0.0 accepted\r\n") }()
	if r, err := w.read(time.Second); err != nil || r.code != 250 {
		t.Fatal(r, err)
	}
	ours.Close()
	if r, err := w.read(time.Second); err != nil || r.code != 250 || r.text() != "accepted" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := w.read(time.Second); err == nil {
		t.Errorf("%+v of a closed connection", r)
	}
}

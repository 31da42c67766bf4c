package smtp

import (
	"bufio"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
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

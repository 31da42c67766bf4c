package smtp

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// newPiped is a bundle whose connections are pipes, so that its time is that of a
// synctest bubble. It must be called in one.
func newPiped(t *testing.T, change func(*Config), opts ...smtptest.Option) *bundle {
	t.Helper()
	server := smtptest.Deaf(opts...)
	t.Cleanup(server.Close)
	c := testConfig("smtp://relay.test:25?tls=none")
	if change != nil {
		change(&c)
	}
	b := &bundle{server: server, log: &lines{}}
	b.Relay = newTestRelay(t, c, b.log)
	b.dialer.connect = func(context.Context, string) (net.Conn, error) { return server.Pipe(), nil }
	return b
}

// TestDeadlinePipelined: each reply of a group has its own time.
func TestDeadlinePipelined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := smtptest.Answer{Reply: "250 ok", Delay: 4 * time.Minute}
		b := newPiped(t, nil, smtptest.On("RCPT", slow))
		start := time.Now()
		b.wantClasses(t, message("a@x.test", "b@x.test", "c@x.test"), "delivered delivered delivered")
		if took := time.Since(start); took != 12*time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

// TestConnectTimeout: an address that does not answer.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, nil)
		b.dialer.connect = func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		start := time.Now()
		b.wantClasses(t, message(), "requeued")
		if took := time.Since(start); took != b.cfg.Timeouts.Connect || b.Up() {
			t.Errorf("gave up after %s, circuit closed: %v", took, b.Up())
		}
	})
}

func TestSessionIdleAndAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, nil)
		send := func(session int) {
			t.Helper()
			b.wantClasses(t, message(), "delivered")
			if n := b.server.Sessions(); n != session {
				t.Fatalf("session %d was used, want %d", n, session)
			}
		}
		send(1)
		time.Sleep(4 * time.Second)
		send(1)
		if strings.Contains(b.server.Transcript(1), "RSET") {
			t.Error("a session idle for 4 s was probed")
		}
		time.Sleep(6 * time.Second)
		send(1)
		if !strings.Contains(b.server.Transcript(1), "RSET") {
			t.Error("a session idle for 6 s was not probed")
		}
		time.Sleep(b.cfg.SessionIdle * 3 / 2)
		if s := b.server.Transcript(1); !strings.HasSuffix(s, "C: QUIT\r\nS: 221 2.0.0 bye\r\n") {
			t.Errorf("an idle session did not quit:\n%s", s)
		}
		send(2)
		for range 30 {
			time.Sleep(10 * time.Second)
			b.wantClasses(t, message(), "delivered")
		}
		send(3) // the second one has reached its age
	})
}

// TestAgeWhileIdle: a session that reached its age while idle is not used again.
func TestAgeWhileIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, func(c *Config) { c.SessionAge = 10 * time.Second })
		b.wantClasses(t, message(), "delivered")
		time.Sleep(11 * time.Second)
		b.wantClasses(t, message(), "delivered")
		if !strings.HasSuffix(b.server.Transcript(1), "C: QUIT\r\nS: 221 2.0.0 bye\r\n") || b.server.Sessions() != 2 {
			t.Errorf("%d sessions; the first:\n%s", b.server.Sessions(), b.server.Transcript(1))
		}
	})
}

// TestStaleProbe: the relay has silently given up an idle session.
func TestStaleProbe(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]smtptest.Answer{
		"hang-up": {HangUp: true}, "refusal": {Reply: "500 what"}, "silence": {Until: make(chan struct{})}, "421": {Reply: "421 bye", HangUp: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if a.Until != nil {
					a.Until = make(chan struct{})
				}
				b := newPiped(t, nil, smtptest.On("RSET", a))
				b.wantClasses(t, message(), "delivered")
				time.Sleep(6 * time.Second)
				tx := b.wantClasses(t, message(), "delivered")
				if b.server.Sessions() != 2 || tx.Use != 1 || !b.Up() {
					t.Errorf("%d sessions, use %d, up %v", b.server.Sessions(), tx.Use, b.Up())
				}
			})
		})
	}
}

// TestCancel: at every stage, a context that ends breaks off at once; after the
// final dot the outcome is uncertain.
func TestCancel(t *testing.T) {
	t.Parallel()
	for verb, want := range map[string]string{
		"CONNECT": "requeued", "EHLO": "requeued", "MAIL": "requeued", "RCPT": "requeued",
		"DATA": "requeued", "BODY": "requeued", "DOT": "uncertain",
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newPiped(t, nil, smtptest.On(verb, smtptest.Answer{Until: make(chan struct{})}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				tx := b.Deliver(ctx, mailWith(strings.Repeat("0123456789abcde\r\n", 1<<14)))
				if got := classes(tx); got != want || time.Since(start) != time.Second {
					t.Errorf("%s after %s, want %s after 1s: %+v", got, time.Since(start), want, tx.Outcomes)
				}
				if local := tx.Outcomes[0].Stage == mail.StageLocal; local != (want == "requeued") {
					t.Errorf("stage %s", tx.Outcomes[0].Stage)
				}
				if !b.Up() {
					t.Errorf("a context that ended opened the circuit:\n%s", b.log)
				}
			})
		})
	}
}

package smtp

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
)

// TestLook: a relay is looked at with one session, which messages use then. The log says
// once what it is, or what is wrong with it, as if a message had found out.
func TestLook(t *testing.T) {
	t.Parallel()
	full := smtptest.Extensions("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 35882577")
	for name, c := range map[string]struct {
		change func(*Config)
		opts   []smtptest.Option
		want   string
		auths  int
		up     bool
	}{
		"plain":          {nil, []smtptest.Option{full}, `level=INFO msg="relay relay.test:25 is ready: no TLS, no AUTH, PIPELINING, 8BITMIME, SMTPUTF8, mails of up to 35.9 MB" relay=relay.test:25 took=0s`, 0, true},
		"bare":           {nil, []smtptest.Option{smtptest.Extensions()}, `level=INFO msg="relay relay.test:25 is ready: no TLS, no AUTH" `, 0, true},
		"with AUTH":      {credentials, []smtptest.Option{full, smtptest.Auth("user", secret)}, `level=INFO msg="relay relay.test:25 is ready: no TLS, AUTH as user, PIPELINING`, 1, true},
		"AUTH offered":   {nil, []smtptest.Option{offersAuth}, `level=WARN msg="relay relay.test:25 is ready: no TLS, no AUTH, PIPELINING; it offers AUTH PLAIN LOGIN: if it refuses mail without, set SMTP_USERNAME`, 0, true},
		"wrong password": {credentials, []smtptest.Option{smtptest.Auth("user", "else"), smtptest.Extensions("AUTH PLAIN")}, `level=ERROR msg="relay relay.test:25 refused the password of user: 535 5.7.8 `, 1, false},
		"no service":     {nil, []smtptest.Option{smtptest.On("CONNECT", smtptest.Answer{Reply: "554 5.3.2 no service"})}, `level=WARN msg="relay relay.test:25 refused the session: 554 5.3.2 no service`, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newPiped(t, func(conf *Config) {
					if c.change != nil {
						c.change(conf)
					}
					conf.Auth = "plain"
				}, c.opts...)
				b.Look()
				if !c.up {
					b.wantClasses(t, message(), "requeued") // beside it, or after it
				}
				synctest.Wait()
				if lines := strings.Count(b.log.String(), "\n"); lines != 1 || !strings.Contains(b.log.String(), c.want) || b.Up() != c.up {
					t.Errorf("up %v\n%s", b.Up(), b.log)
				}
				if !c.up {
					b.wantClasses(t, message(), "requeued")
				} else if tx := b.wantClasses(t, message(), "delivered"); tx.Use != 1 {
					t.Errorf("use %d", tx.Use)
				}
				if n := strings.Count(b.server.Transcript(1), "C: AUTH"); n != c.auths || b.server.Sessions() > 1 && name != "no service" {
					t.Errorf("%d sessions, %d times AUTH", b.server.Sessions(), n)
				}
			})
		})
	}
}

// TestLookTLS: the log has the version.
func TestLookTLS(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	b := newBundle(t, smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false)), func(c *Config) {
		c.CAFile = ca.File()
		urlOption("")(c)
	})
	b.Look()
	testrun.Eventually(t, "the relay is looked at", 10*time.Second, func() bool { return b.log.count("is ready: TLS 1.3, no AUTH") == 1 })
}

// TestLookRefused: the relay is away; State says so before there is mail, and a relay that
// was closed before it was looked at is no fault.
func TestLookRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, nil)
		b.dialer.connect = func(context.Context, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		b.Look()
		synctest.Wait()
		if s, _ := b.State(); s.Fault == nil || s.Fault.Problem != "refused the connection" || b.log.count("level=WARN") != 1 {
			t.Errorf("%+v\n%s", s, b.log)
		}
		b = newPiped(t, nil, smtptest.On("CONNECT", smtptest.Answer{Stall: true}))
		b.Look()
		synctest.Wait()
		if err := b.Close(t.Context()); err != nil || b.log.String() != "" {
			t.Errorf("%v\n%s", err, b.log)
		}
		b.Look() // says nothing
	})
}

// TestLookBesideMessages: a relay that has room for one session, which a message uses, is
// not called down.
func TestLookBesideMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, atMostOne())
		got := make(chan string)
		go func() { got <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		b.Look()
		synctest.Wait()
		if x := <-got; x != "delivered" || !b.Up() || b.log.count("level=WARN") > 0 {
			t.Errorf("%s\n%s", x, b.log)
		}
		time.Sleep(time.Minute)
	})
}

// atMostOne is a relay that accepts one session at a time, and takes a second for a
// message.
func atMostOne() smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case st.Verb == "DOT":
			return &smtptest.Answer{Delay: time.Second, Reply: "250 ok"}
		case st.Verb == "CONNECT" && st.Session > 1:
			return &smtptest.Answer{HangUp: true}
		}
		return nil
	})
}

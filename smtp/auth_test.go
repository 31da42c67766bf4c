package smtp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

const secret = "hunter2-correct-horse"

func credentials(c *Config) { c.Username, c.Password, c.AuthWithoutTLS = "user", secret, true }

func wantLog(t *testing.T, log *lines, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(log.String()) {
		t.Errorf("the log does not say %q:\n%s", pattern, log)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	for name, offer := range map[string]string{
		"PLAIN": "AUTH PLAIN", "LOGIN": "AUTH LOGIN", "both": "auth login plain", "old": "AUTH=LOGIN", "other": "AUTH CRAM-MD5 LOGIN",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hello := smtptest.Answer{Reply: "250-relay.test\r\n250 " + offer}
			b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), smtptest.On("EHLO", hello)), credentials)
			b.wantClasses(t, message(), "delivered")
			if user := b.server.Messages()[0].User; user != "user" {
				t.Errorf("user %q", user)
			}
		})
	}
}

// challenging is a relay that answers AUTH, and whatever follows, with a challenge.
var challenging = smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
	if st.Verb == "CONNECT" || st.Verb == "EHLO" || st.Verb == "QUIT" {
		return nil
	}
	return &smtptest.Answer{Reply: "334 more"}
})

// TestAuthNext: a relay that does not do the first mechanism after all, or not for this
// user, is asked with the next one. If both are refused, the reply that says more counts.
func TestAuthNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ plain, login, auth, class, said, log string }{
		{"500 5.5.1 what", "", "", "delivered", "PLAIN LOGIN", ""},
		{"502 5.5.1 what", "", "", "delivered", "PLAIN LOGIN", ""},
		{"504 5.5.4 not this one", "", "", "delivered", "PLAIN LOGIN", ""},
		{"534 5.7.9 too weak", "", "", "delivered", "PLAIN LOGIN", ""},
		{"535 5.7.8 no", "", "", "delivered", "PLAIN LOGIN", ""},
		{"535 5.7.8 no", "535 5.7.8 no again", "", "requeued", "PLAIN LOGIN", "level=ERROR.*refused the password of user: 535 5.7.8 no:"},
		{"535 5.7.8 no", "504 5.5.4 not this one", "", "requeued", "PLAIN LOGIN", "refused the password of user: 535 5.7.8 no:"},
		{"504 5.5.4 not this one", "535 5.7.8 no", "", "requeued", "PLAIN LOGIN", "refused the password of user: 535 5.7.8 no:"},
		{"504 5.5.4 not this one", "454 4.7.0 later", "", "requeued", "PLAIN LOGIN", "level=WARN.*cannot check the password now: 454"},
		{"504 5.5.4 not this one", "504 5.5.4 nor this one", "", "requeued", "PLAIN LOGIN", `level=ERROR.*refused AUTH LOGIN \(it offers LOGIN PLAIN XOAUTH2\): 504.*set SMTP_AUTH`},
		{"454 4.7.0 later", "", "", "requeued", "PLAIN", "cannot check the password now: 454"},
		{"554 5.7.0 no", "", "", "requeued", "PLAIN", "refused the password of user: 554"},
		{"535 5.7.8 no", "", "plain", "requeued", "PLAIN", "refused the password of user: 535 5.7.8 no:"},
		{"535 5.7.8 no", "", "LOGIN", "delivered", "LOGIN", ""},
	} {
		t.Run(c.plain+c.login+c.auth, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
				switch {
				case st.Verb == "EHLO":
					return &smtptest.Answer{Reply: "250-relay.test\r\n250 AUTH LOGIN PLAIN XOAUTH2"}
				case strings.HasPrefix(st.Line, "AUTH PLAIN") && c.plain != "":
					return &smtptest.Answer{Reply: c.plain}
				case strings.HasPrefix(st.Line, "AUTH LOGIN") && c.login != "":
					return &smtptest.Answer{Reply: c.login}
				}
				return nil
			})), func(cfg *Config) { credentials(cfg); cfg.Auth = c.auth })
			b.wantClasses(t, message(), c.class)
			var said []string
			for _, m := range regexp.MustCompile(`C: AUTH (\w+)`).FindAllStringSubmatch(b.server.Transcript(1), -1) {
				said = append(said, m[1])
			}
			if got := strings.Join(said, " "); got != c.said {
				t.Errorf("said AUTH %s, want %s", got, c.said)
			}
			wantLog(t, b.log, c.log)
		})
	}
}

// TestPlainChallenged: a relay that ignores the initial response of PLAIN and asks for
// it is told it again.
func TestPlainChallenged(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"334", "334 ", "334 go on"} {
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Verb == "EHLO":
				return &smtptest.Answer{Reply: "250-relay.test\r\n250 AUTH PLAIN"}
			case st.Verb == "AUTH":
				return &smtptest.Answer{Reply: challenge}
			case st.Line == base64.StdEncoding.EncodeToString([]byte("\x00user\x00"+secret)):
				return &smtptest.Answer{Reply: "235 2.7.0 welcome"}
			}
			return nil
		})), credentials)
		b.wantClasses(t, message(), "delivered")
	}
}

// TestAuthOffers: the sentence says what the relay offers.
func TestAuthOffers(t *testing.T) {
	t.Parallel()
	for offer, c := range map[string]struct{ auth, says string }{
		"AUTH CRAM-MD5 GSSAPI": {"", "offers neither AUTH PLAIN nor AUTH LOGIN, but CRAM-MD5 GSSAPI, and SMTP_USERNAME is set"},
		"AUTH PLAIN":           {"login", "does not offer AUTH LOGIN, which SMTP_AUTH names, but PLAIN"},
		"SIZE":                 {"plain", "does not offer AUTH PLAIN, which SMTP_AUTH names, but none"},
	} {
		b := newBundle(t, smtptest.New(t, smtptest.On("EHLO", smtptest.Answer{Reply: "250-relay.test\r\n250 " + offer})), func(cfg *Config) {
			credentials(cfg)
			cfg.Auth = c.auth
		})
		b.wantClasses(t, message(), "requeued")
		wantLog(t, b.log, "level=ERROR.*"+c.says)
	}
}

func TestAuthFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		opts   []smtptest.Option
		change func(*Config)
		says   string
	}{
		{"wrong password", []smtptest.Option{smtptest.Auth("user", "else")}, nil, "level=ERROR.*refused the password of user: 535 5.7.8 wrong.*set SMTP_USERNAME and SMTP_PASSWORD"},
		{"no AUTH", nil, nil, "level=ERROR.*offers neither AUTH PLAIN nor AUTH LOGIN, and SMTP_USERNAME is set"},
		{
			"unknown mechanism", []smtptest.Option{smtptest.On("EHLO", smtptest.Answer{Reply: "250-relay.test\r\n250 AUTH GSSAPI"})}, nil,
			"level=ERROR.*offers neither AUTH PLAIN",
		},
		{
			"no TLS", []smtptest.Option{smtptest.Auth("user", secret)}, func(c *Config) {
				urlOption("?tls=opportunistic")(c)
				c.AuthWithoutTLS = false
			},
			"level=ERROR.*the password is not sent in clear text.*SMTP_AUTH_WITHOUT_TLS",
		},
		{
			"one challenge too many", []smtptest.Option{smtptest.Auth("user", secret), challenging}, nil,
			"level=WARN.*cannot check the password now: 334",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, smtptest.New(t, c.opts...), func(cfg *Config) {
				credentials(cfg)
				if c.change != nil {
					c.change(cfg)
				}
			})
			if o := b.wantClasses(t, message(), "requeued").Outcomes[0]; o.Stage != mail.StageAuth {
				t.Errorf("stage %s", o.Stage)
			}
			wantLog(t, b.log, c.says)
			if c.name == "no TLS" && strings.Contains(b.server.Transcript(1), "C: AUTH") {
				t.Error("AUTH was sent in clear text")
			}
		})
	}
}

// TestPasswordIsNotSaidForEver: a refused password is said again after 15 minutes, and
// then ever more rarely, by one session. Meanwhile the relay is probed up to EHLO, and
// the log says when the password is next. A temporary refusal is probed as ever.
func TestPasswordIsNotSaidForEver(t *testing.T) {
	t.Parallel()
	for reply, c := range map[string]struct{ least, most int }{
		"535 5.7.8 no": {8, 8}, "534 5.7.9 weak": {8, 8}, "538 5.7.11 encrypt": {8, 8}, "530 5.7.0 STARTTLS": {8, 8},
		"454 4.7.0 later": {1400, 2000}, "421 4.7.0 later": {1400, 2000},
	} {
		t.Run(reply, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var said, greeted atomic.Int64
				var repaired atomic.Bool
				b := newPiped(t, func(c *Config) { credentials(c); shortPauses(c) }, smtptest.Auth("user", secret),
					smtptest.On("EHLO", smtptest.Answer{Reply: "250-relay.test\r\n250 AUTH LOGIN"}), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
						if st.Verb == "CONNECT" {
							greeted.Add(1)
						}
						if st.Verb != "AUTH" || repaired.Load() {
							return nil
						}
						said.Add(1)
						return &smtptest.Answer{Reply: reply, Delay: time.Millisecond}
					}))
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						if got := classes(b.Deliver(t.Context(), message())); got != "requeued" {
							t.Errorf("outcome %s", got)
						}
					})
				}
				wg.Wait()
				if n := said.Load(); n != 1 && c.most == 8 {
					t.Errorf("ten messages at once said it %d times", n)
				}
				time.Sleep(24 * time.Hour)
				if n := said.Load(); int(n) < c.least || int(n) > c.most || greeted.Load() < 1400 {
					t.Errorf("said %d times in a day, %d sessions", n, greeted.Load())
				}
				if e := b.log.count("level=ERROR"); c.most == 8 && (e != 8 || b.log.count("tried again in 15m") != 1 || b.log.count("tried again in 6h") != 3) {
					t.Errorf("%d lines:\n%s", e, b.log)
				}
				repaired.Store(true)
				time.Sleep(7 * time.Hour)
				b.wantClasses(t, message(), "delivered")
			})
		})
	}
}

// TestPasswordAndOutage: an outage after a refusal is told, and what is left of the
// pause is kept.
func TestPasswordAndOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, func(c *Config) { credentials(c); shortPauses(c) }, smtptest.Auth("user", "else"))
		var away atomic.Bool
		b.dialer.connect = func(context.Context, string) (net.Conn, error) {
			if away.Load() {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return b.server.Pipe(), nil
		}
		b.wantClasses(t, message(), "requeued")
		time.Sleep(5 * time.Minute)
		away.Store(true)
		time.Sleep(2 * time.Minute)
		away.Store(false)
		time.Sleep(7 * time.Minute)
		all := ""
		for n := 1; n <= b.server.Sessions(); n++ {
			all += b.server.Transcript(n)
		}
		if n := strings.Count(all, "C: AUTH PLAIN"); n != 1 || b.log.count("refused the connection") != 1 || b.log.count("refused the password") != 2 {
			t.Errorf("AUTH %d times:\n%s", n, b.log)
		}
	})
}

// TestTrusted: if a relay has accepted the password and then asks for
// authentication at MAIL, RCPT, DATA or the dot, it means this sender, recipient
// or message. That one is deferred, counted, and the relay stays up for others.
func TestTrusted(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), smtptest.On(step, smtptest.Answer{Reply: "530 5.7.57 not you"})), credentials)
			b.wantClasses(t, message(), "deferred")
			if b.log.count("level=ERROR") > 0 {
				t.Error(b.log)
			}
			b.wantClasses(t, message(), "deferred")
			if n := b.server.Sessions(); n != 1 && step != "MAIL" { // there a session that was used before is given up
				t.Errorf("%d sessions", n)
			}
		})
	}
}

// forms are those in which a relay may repeat what it was sent.
func forms() map[string]string {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00user\x00" + secret))
	login := base64.StdEncoding.EncodeToString([]byte(secret))
	return map[string]string{
		"password": secret, "capitals": strings.ToUpper(secret), "quoted": strconv.Quote("\x00user\x00" + secret),
		"PLAIN": plain, "LOGIN": login, "line": "AUTH PLAIN " + plain, "cut off": plain[:len(plain)*3/4], "URL": url.QueryEscape(secret + "/="),
		"base64 for URLs": base64.RawURLEncoding.EncodeToString([]byte("user:" + secret)), "hex": fmt.Sprintf("%x", secret), "HEX": fmt.Sprintf("% X", secret),
		"in two": login[:13] + "\r\n" + login[13:],
		"begun":  secret[:9],
	}
}

// saying is a reply that says form, in as many lines as form has.
func saying(format, form string) string {
	said := fmt.Sprintf(format, form)
	first, rest, two := strings.Cut(said, "\r\n")
	if !two || format[0] == '%' || format[0] == 'y' {
		return said
	}
	return first[:3] + "-" + first[4:] + "\r\n" + first[:4] + rest
}

// TestSecretsStaySecret: relays that repeat what they were sent at AUTH, then or
// later, in a reply or in something that is no reply.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	for step, answers := range map[string][]string{
		"AUTH": {"535 5.7.8 wrong: %s", "454 4.7.0 no directory for %s", "334 %s", "you said %s", "530 %s"},
		"MAIL": {"550 5.7.1 not with %s", "452 4.3.1 %s", "535 5.7.8 %s", "%s"},
		"RCPT": {"550 5.1.1 not with %s", "450 4.2.1 %s"},
		"DATA": {"554 5.6.0 not with %s", "250 %s"},
		"DOT":  {"250 2.0.0 Ok: queued as %s", "451 4.3.0 %s", "%s"},
	} {
		for _, a := range answers {
			for name, form := range forms() {
				t.Run(step+" "+a+" "+name, func(t *testing.T) {
					t.Parallel()
					b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), smtptest.On(step, smtptest.Answer{Reply: saying(a, form)})), credentials)
					tx, again := b.deliver(t, message()), b.deliver(t, message())
					got := b.log.String() + fmt.Sprintf("%+v %+v %+v %#v", tx, again, b.cfg, b.cfg)
					for part := range strings.SplitSeq(form, "\r\n") {
						if strings.Contains(got, part) {
							t.Errorf("%q got out:\n%s", part, got)
						}
					}
				})
			}
		}
	}
	c := testConfig("smtp://user:" + secret + "@relay.test")
	c.Password = secret
	for _, err := range c.Validate() {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("Validate says %v", err)
		}
	}
}

// TestEchoes: the password is recognized whatever is around it, and wherever it is
// cut off; what relays usually say is not taken for it.
func TestEchoes(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"k7#q", `p/+"\ ~ß%41`, secret, strings.Repeat("wJalrXUtnFEMI/K7MDENG+", 3)} {
		e := newEchoes(password)
		for before := range 7 {
			for behind := range 4 {
				s := []byte(strings.Repeat("\x00", before) + password + strings.Repeat("~", behind))
				for _, form := range []string{
					base64.StdEncoding.EncodeToString(s), base64.RawURLEncoding.EncodeToString(s), fmt.Sprintf("%x", s), fmt.Sprintf("%+q", s[before:before+len(password)]),
				} {
					if strings.HasPrefix(form, `"`) && password[0] == 'p' {
						continue // \u00df is none of the forms
					}
					if !e.in("5.7.8 no: " + form + ".") {
						t.Errorf("%q is not recognized in %q", password, form)
					}
				}
			}
		}
		for _, words := range []string{
			"Ok: queued as 4Zx2Y31q9z", "OK id=1tQ0aB-000000001-abcd", "authentication failed: wrong user or password",
			"Username and Password not accepted. For more information, go to https://relay.test/?p=BadCredentials a1b2c3d4e5f6 - gsmtp",
		} {
			if e.in(words) {
				t.Errorf("%q is taken for an echo of %q", words, password)
			}
		}
	}
	if newEchoes("").in("anything") {
		t.Error("there is an echo of no password")
	}
}

// TestEchoForms: a relay may write the password URL-escaped, as HTML, or only in
// part.
func TestEchoForms(t *testing.T) {
	t.Parallel()
	const password = `pa ss&w<o>rd"and'more`
	e := newEchoes(password)
	for _, form := range []string{
		"pa%20ss&w%3Co%3Erd%22and%27more", "pa+ss%26w%3co%3erd%22and%27more",
		"pa ss&amp;w&lt;o&gt;rd&#34;and&#39;more", "pa ss&amp;w&lt;o&gt;rd&quot;and&apos;more",
		"pa ss&w<o>", "pa ss&w<o>...", "pa%20ss&w%3Co", "PA SS&AMP;W&LT;O",
	} {
		if !e.in("5.7.8 wrong: " + form) {
			t.Errorf("not recognized: %s", form)
		}
	}
}

// TestShortPassword: a very short password occurs in every reply by chance. It is
// not searched for, and the log says so.
func TestShortPassword(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"a", "ok", "k7#", `":%\`, "pass"} {
		e := newEchoes(password)
		for _, words := range []string{
			"Ok: queued as 4Zx2Y31q9z", "authentication failed: look at https://relay.test/?p=BadCredentials a1b2c3d4e5f6 - gsmtp",
			"Error: need RCPT command", "<ann@example.net>: Recipient address rejected: User unknown in virtual mailbox table",
		} {
			if e.in(words) {
				t.Errorf("%q is taken for an echo of %q", words, password)
			}
		}
	}
	for password, warned := range map[string]bool{"k7#": true, `k7"#`: true, "k7#q": false} {
		b := newBundle(t, smtptest.New(t), func(c *Config) { c.Username, c.Password, c.AuthWithoutTLS = "user", mail.Secret(password), true })
		if got := strings.Contains(b.log.String(), "SMTP_PASSWORD"); got != warned || strings.Contains(b.log.String(), "k7") {
			t.Errorf("password %s, warned: %v, want %v\n%s", password, got, warned, b.log)
		}
	}
}

// TestHiddenError: an error whose words are hidden still answers errors.Is and
// errors.As.
func TestHiddenError(t *testing.T) {
	t.Parallel()
	e := newEchoes(secret)
	said := errors.New("it said " + secret)
	alert := &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	for _, err := range []error{
		fmt.Errorf("%w: %w", said, alert), fmt.Errorf("it said %s: %w", secret, alert), errors.Join(said, context.DeadlineExceeded),
	} {
		hidden := e.hideErr(fmt.Errorf("connect: %w", err))
		if !errors.Is(hidden, context.DeadlineExceeded) {
			t.Errorf("errors.Is does not find what %T wraps", err)
		}
		log := &lines{}
		slog.New(slog.NewJSONHandler(log, nil)).Info("a", "error", hidden, "in", struct{ Err error }{hidden})
		shown := fmt.Sprintf("%v %+v %#v %s %q %+v %#v", hidden, hidden, hidden, hidden, hidden, &Error{Err: hidden}, Error{Err: hidden}) + log.String()
		for inner := errors.Unwrap(hidden); inner != nil; inner = errors.Unwrap(inner) {
			shown += inner.Error()
		}
		if strings.Contains(shown, secret) || !strings.Contains(shown, "withheld") {
			t.Errorf("shown: %s", shown)
		}
	}
	hidden := e.hideErr(fmt.Errorf("it said %s: %w", secret, alert))
	if op, ok := errors.AsType[*net.OpError](hidden); !ok || op != alert {
		t.Error("a cause that does not repeat the password is not found")
	}
	if e.hideErr(nil) != nil || e.hideErr(alert) != error(alert) {
		t.Error("an error that does not repeat the password is hidden")
	}
}

func TestEHLOName(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	server := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false))
	b := newBundle(t, server, func(c *Config) { c.EHLOName, c.CAFile = "mail.client.test", ca.File() })
	b.wantClasses(t, message(), "delivered")
	if n := strings.Count(server.Transcript(1), "C: EHLO mail.client.test\r\n"); n != 2 {
		t.Errorf("greeted %d times by that name:\n%s", n, server.Transcript(1))
	}
	if got := ehloName("", nil); got == "" {
		t.Error("no name to greet with")
	}
}

package smtp

import (
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, other := smtptest.NewAuthority(t), smtptest.NewAuthority(t)
	file := ca.File()
	good := smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false)
	implicit := smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), true)
	for _, c := range []struct {
		name   string
		opts   []smtptest.Option
		change func(*Config)
		// class of the outcome, whether it was sent under TLS, and part of the alarm or warning.
		class string
		tls   bool
		says  string
	}{
		{name: "STARTTLS", opts: []smtptest.Option{good}, class: "delivered", tls: true},
		{name: "implicit", opts: []smtptest.Option{implicit}, class: "delivered", tls: true},
		{name: "opportunistic", opts: []smtptest.Option{good}, change: urlOption("?tls=opportunistic"), class: "delivered", tls: true},
		{name: "opportunistic without", change: urlOption("?tls=opportunistic"), class: "delivered"},
		{name: "none although offered", opts: []smtptest.Option{good}, change: urlOption("?tls=none"), class: "delivered"},
		{name: "stripped", change: urlOption(""), class: "requeued", says: "level=ERROR.*offers no STARTTLS"},
		{
			name: "opportunistic, expired", change: urlOption("?tls=opportunistic"),
			opts: []smtptest.Option{smtptest.TLS(ca.Certificate("127.0.0.1", -time.Minute), false)}, class: "requeued", says: "level=ERROR.*expired",
		},
		{name: "expired", opts: []smtptest.Option{smtptest.TLS(ca.Certificate("127.0.0.1", -time.Minute), false)}, class: "requeued", says: "level=ERROR.*expired"},
		{name: "another name", opts: []smtptest.Option{smtptest.TLS(ca.Certificate("else.test", time.Hour), false)}, class: "delivered", tls: true, change: urlOption("?servername=else.test")},
		{name: "wrong other name", opts: []smtptest.Option{smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false)}, class: "requeued", says: "level=ERROR.*is not for else.test", change: urlOption("?servername=else.test")},
		{name: "wrong name", opts: []smtptest.Option{smtptest.TLS(ca.Certificate("else.test", time.Hour), false)}, class: "requeued", says: "level=ERROR.*is not for 127.0.0.1"},
		{name: "self-signed", opts: []smtptest.Option{smtptest.TLS(ca.SelfSigned("127.0.0.1"), false)}, class: "requeued", says: "level=ERROR.*cannot be trusted"},
		{name: "unknown authority", opts: []smtptest.Option{smtptest.TLS(other.Certificate("127.0.0.1", time.Hour), true)}, class: "requeued", says: "level=ERROR.*SMTP_CA_FILE"},
		{
			name: "TLS 1.1", opts: []smtptest.Option{good, smtptest.TLSConfig(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })},
			class: "requeued", says: "level=WARN.*TLS handshake",
		},
		{name: "clear text at a TLS port", change: urlScheme("smtps"), class: "requeued", says: "level=WARN.*speaks no TLS on that port"},
		{name: "refused", opts: []smtptest.Option{good, smtptest.On("STARTTLS", smtptest.Answer{Reply: "454 4.7.0 not now"})}, class: "requeued", says: "level=WARN.*refused STARTTLS: 454 4.7.0 not now"},
		{name: "hang-up", opts: []smtptest.Option{good, smtptest.On("STARTTLS", smtptest.Answer{HangUp: true})}, class: "requeued", says: "level=WARN.*hung up"},
		{
			name: "injected", opts: []smtptest.Option{good, smtptest.On("STARTTLS", smtptest.Answer{Raw: "220 go\r\n250-relay.test\r\n250 AUTH PLAIN\r\n"})},
			class: "requeued", says: "level=ERROR.*in clear text after its reply to STARTTLS",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.class == "requeued" {
				// The relay offers AUTH even in clear text.
				c.opts = append(c.opts, smtptest.Auth("user", secret))
			}
			b := newBundle(t, smtptest.New(t, c.opts...), func(cfg *Config) {
				cfg.CAFile = file
				if c.class == "requeued" {
					cfg.Username, cfg.Password = "user", secret
					urlOption("")(cfg)
				}
				if c.change != nil {
					c.change(cfg)
				}
			})
			tx := b.wantClasses(t, message(), c.class)
			if messages := b.server.Messages(); c.class == "delivered" && messages[0].TLS != c.tls {
				t.Errorf("under TLS: %v", messages[0].TLS)
			}
			if c.class == "requeued" {
				if o := tx.Outcomes[0]; o.Stage != "tls" && o.Stage != "greeting" {
					t.Errorf("stage %s", o.Stage)
				}
				if said := b.server.Transcript(1); strings.Contains(said, "C: MAIL") || strings.Contains(said, "C: AUTH") {
					t.Errorf("MAIL or AUTH was sent all the same:\n%s", said)
				}
				wantLog(t, b.log, c.says)
			}
		})
	}
}

// nthHello replies so to the nth EHLO alone.
func nthHello(n int, reply string) smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != "EHLO" {
			return nil
		}
		if n--; n == 0 {
			return &smtptest.Answer{Reply: reply}
		}
		return nil
	})
}

// TestTLSForgetsClearText: what the relay offered before TLS does not count under TLS.
func TestTLSForgetsClearText(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	server := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false), nthHello(1, "250-relay.test\r\n250-STARTTLS\r\n250 SIZE 10"))
	b := newBundle(t, server, func(c *Config) { c.CAFile = ca.File() })
	b.wantClasses(t, message(), "delivered")
}

// TestTLSWithdrawsAuth: AUTH is not used if it was offered only in clear text.
func TestTLSWithdrawsAuth(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	server := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false), smtptest.Auth("user", secret), nthHello(2, "250-relay.test\r\n250 STARTTLS"))
	b := newBundle(t, server, func(c *Config) { c.CAFile, c.Username, c.Password = ca.File(), "user", secret })
	b.wantClasses(t, message(), "requeued")
	wantLog(t, b.log, "level=ERROR.*offers neither AUTH PLAIN nor AUTH LOGIN")
	if strings.Contains(server.Transcript(1), "C: AUTH") {
		t.Error("AUTH was sent all the same")
	}
}

// TestHandshakeStalls: connecting, or STARTTLS, has one deadline in all.
func TestHandshakeStalls(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]smtptest.Option{
		"smtp":  smtptest.On("STARTTLS", smtptest.Answer{Reply: "220 2.0.0 go ahead", Stall: true}),
		"smtps": smtptest.On("CONNECT", smtptest.Answer{Stall: true}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := smtptest.NewAuthority(t)
				b := newPiped(t, func(c *Config) {
					c.CAFile = ca.File()
					urlOption("")(c)
					if name == "smtps" {
						urlScheme("smtps")(c)
					}
				}, smtptest.TLS(ca.Certificate("relay.test", time.Hour), false), answer)
				start := time.Now()
				b.wantClasses(t, message(), "requeued")
				if took := time.Since(start); took != time.Minute {
					t.Errorf("gave up after %s", took)
				}
				wantLog(t, b.log, "level=WARN.*TLS handshake")
			})
		})
	}
}

// TestTLSLongBody: listening before the dot leaves TLS intact.
func TestTLSLongBody(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	server := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), true))
	b := newBundle(t, server, func(c *Config) { c.CAFile = ca.File() })
	body := strings.Repeat("0123456789abcde\r\n", 1<<14)
	for range 2 {
		b.wantClasses(t, mailWith(body), "delivered")
	}
	if server.Sessions() != 1 || string(server.Messages()[1].Data) != body {
		t.Errorf("%d sessions, %d bytes", server.Sessions(), len(server.Messages()[1].Data))
	}
}

func TestCAFile(t *testing.T) {
	t.Parallel()
	c := testConfig("smtp://relay.test")
	c.CAFile = t.TempDir() + "/none.pem"
	wantProblem(t, c, "SMTP_CA_FILE: stat")
	if err := os.WriteFile(c.CAFile, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, c, "SMTP_CA_FILE: "+c.CAFile+": holds no PEM certificate")
}

// TestChangedCAFile: the relay has a certificate of another authority, and later so has the
// file. The next session trusts it; while the file cannot be read, those of before count.
func TestChangedCAFile(t *testing.T) {
	t.Parallel()
	first, second := smtptest.NewAuthority(t), smtptest.NewAuthority(t)
	var shown atomic.Pointer[tls.Certificate]
	show := func(a *smtptest.Authority) {
		c := a.Certificate("127.0.0.1", time.Hour)
		shown.Store(&c)
	}
	show(first)
	file := first.File()
	hold := func(from string) {
		b, err := os.ReadFile(from)
		if err := errors.Join(err, os.WriteFile(file, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	server := smtptest.New(t, smtptest.TLS(tls.Certificate{}, true), smtptest.TLSConfig(func(c *tls.Config) {
		c.Certificates, c.GetCertificate = nil, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }
	}))
	b := newBundle(t, server, func(c *Config) {
		c.CAFile, c.MessagesPerSession = file, 1
		c.PauseMin, c.PauseMax = 10*time.Millisecond, 10*time.Millisecond
	})
	b.wantClasses(t, message(), "delivered")
	if err := os.WriteFile(file, []byte("-----BEGIN CERT"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.wantClasses(t, message(), "delivered")
	b.wantClasses(t, message(), "delivered")
	if n := b.log.count("SMTP_CA_FILE: " + file); n != 1 {
		t.Errorf("said %d times:\n%s", n, b.log)
	}
	show(second)
	b.wantClasses(t, message(), "requeued")
	wantLog(t, b.log, "SMTP_CA_FILE")
	hold(second.File())
	if err := b.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantClasses(t, message(), "delivered")
}

func urlOption(option string) func(*Config) {
	return func(c *Config) {
		base, _, _ := strings.Cut(c.URL, "?")
		c.URL = base + option
	}
}

func urlScheme(scheme string) func(*Config) {
	return func(c *Config) {
		_, rest, _ := strings.Cut(c.URL, "://")
		rest, _, _ = strings.Cut(rest, "?")
		c.URL = scheme + "://" + rest
	}
}

package smtp

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/schema"
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
			b.wantClasses(t, mail(), "delivered")
			if user := b.server.Messages()[0].User; user != "user" {
				t.Errorf("user %q", user)
			}
		})
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
			"one challenge too many", []smtptest.Option{smtptest.Auth("user", secret), smtptest.On("AUTH", smtptest.Answer{Reply: "334 more"})}, nil,
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
			if o := b.wantClasses(t, mail(), "delayed").Outcomes[0]; o.Stage != schema.StageAuth {
				t.Errorf("stage %s", o.Stage)
			}
			wantLog(t, b.log, c.says)
			if c.name == "no TLS" && strings.Contains(b.server.Transcript(1), "C: AUTH") {
				t.Error("AUTH was sent in clear text")
			}
		})
	}
}

// TestSecretsStaySecret: relays that echo what they were sent, in a reply or in
// what is none.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00user\x00" + secret))
	login := base64.StdEncoding.EncodeToString([]byte(secret))
	for name, a := range map[string]smtptest.Answer{
		"echo":      {Reply: "535 5.7.8 cannot take " + plain},
		"decoded":   {Reply: "535-5.7.8 wrong: " + secret + "\r\n535 5.7.8 " + secret + login},
		"garbage":   {Reply: "AUTH PLAIN " + plain},
		"temporary": {Reply: "454 4.7.0 no directory for " + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), smtptest.On("AUTH", a)), credentials)
			tx := b.wantClasses(t, mail(), "delayed")
			again := b.wantClasses(t, mail(), "delayed")
			said := b.log.String() + fmt.Sprintf("%+v %+v %+v %#v", tx, again, b.cfg, b.cfg)
			for _, s := range []string{secret, plain, login} {
				if strings.Contains(said, s) {
					t.Errorf("%q got out:\n%s", s, said)
				}
			}
		})
	}
	c := testConfig("smtp://user:" + secret + "@relay.test")
	c.Password = secret
	for _, err := range c.Validate() {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("Validate says %v", err)
		}
	}
}

func TestEHLOName(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	server := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false))
	b := newBundle(t, server, func(c *Config) { c.EHLOName, c.CAFile = "mail.client.test", ca.File() })
	b.wantClasses(t, mail(), "delivered")
	if n := strings.Count(server.Transcript(1), "C: EHLO mail.client.test\r\n"); n != 2 {
		t.Errorf("greeted %d times by that name:\n%s", n, server.Transcript(1))
	}
	if got := ehloName("", nil); got == "" {
		t.Error("no name to greet with")
	}
}

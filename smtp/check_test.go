package smtp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	server := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", 30*time.Minute), false), smtptest.Auth("ann", "s3cret"))
	c := testConfig(server.URL())
	c.Username, c.Password, c.CAFile = "ann", "s3cret", ca.File()
	x, err := Check(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(x.Expires); x.TLS != "TLS 1.3" || x.User != "ann" || left > 30*time.Minute || left < 0 {
		t.Errorf("%+v", x)
	}
	said := server.Transcript(1)
	if !strings.Contains(said, "C: AUTH") || !strings.Contains(said, "C: QUIT") || strings.Contains(said, "C: MAIL") {
		t.Errorf("no session up to AUTH and QUIT:\n%s", said)
	}
	if server.Sessions() != 1 {
		t.Errorf("%d sessions", server.Sessions())
	}

	plain := smtptest.New(t)
	x, err = Check(t.Context(), testConfig(plain.URL()))
	if err != nil || x.TLS != "" || !x.Expires.IsZero() || x.User != "" {
		t.Errorf("in clear text: %+v, %v", x, err)
	}
}

func TestCheckFindsTrouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts    []smtptest.Option
		change  func(*Config)
		says    string
		crowded bool
	}{
		"wrong password": {opts: []smtptest.Option{smtptest.Auth("ann", "other")}, says: "refused the password of ann: 535 5.7.8"},
		"echo": {
			opts: []smtptest.Option{smtptest.Auth("ann", "s3cret"), smtptest.On("AUTH", smtptest.Answer{Reply: "535 5.7.8 no: AGFubgBzM2NyZXQ= is s3cret"})},
			says: "its words are withheld: they repeat the password",
		},
		"full":   {opts: []smtptest.Option{smtptest.On("CONNECT", smtptest.Answer{Reply: "421 4.7.0 too many connections"})}, says: "too many connections", crowded: true},
		"silent": {opts: []smtptest.Option{smtptest.On("EHLO", smtptest.Answer{Until: make(chan struct{})})}, says: "does not answer EHLO", change: func(c *Config) { c.Timeouts = c.Timeouts.Within(50 * time.Millisecond) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, c.opts...)
			cfg := testConfig(server.URL())
			cfg.Username, cfg.Password, cfg.AuthWithoutTLS = "ann", "s3cret", true
			if c.change != nil {
				c.change(&cfg)
			}
			_, err := Check(t.Context(), cfg)
			bad, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(bad.Detail(), c.says) || bad.Hint == "" || bad.Crowded() != c.crowded {
				t.Errorf("%#v, want %q", err, c.says)
			}
			if !ok || bad.Class != mail.Requeued || bad.Relay != server.Addr() || err.Error() != "relay "+bad.Relay+" "+bad.Detail() {
				t.Errorf("%#v", err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("tells the password: %v", err)
			}
		})
	}
}

func TestCheckEndsInTime(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.On("CONNECT", smtptest.Answer{Until: make(chan struct{})}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := Check(ctx, testConfig(server.URL()))
	if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), "in time") {
		t.Errorf("%v", err)
	}
	// The greeting alone may take a minute.
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

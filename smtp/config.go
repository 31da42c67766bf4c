package smtp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
)

// Config says which relay to use and how. A Config is validated before use.
type Config struct {
	URL            string      `env:"SMTP_URL" help:"The relay: smtp://host:587 (STARTTLS required) or smtps://host:465; ?tls=none, opportunistic or required changes what smtp:// asks for."`
	Username       string      `env:"SMTP_USERNAME" help:"User name at the relay; empty: no AUTH."`
	Password       mail.Secret `env:"SMTP_PASSWORD" help:"Password of SMTP_USERNAME. Where a relay repeats one of fewer than 4 characters, that is not noticed."`
	CAFile         string      `env:"SMTP_CA_FILE" help:"File of PEM certificates that the relay's certificate may be signed by, besides the system's."`
	AuthWithoutTLS bool        `env:"SMTP_AUTH_WITHOUT_TLS" help:"Send the password in clear text where the session is not under TLS."`
	EHLOName       string      `env:"EHLO_NAME" help:"Name to greet the relay with; empty: the host's name where it has a domain, else its address."`

	MaxSessions        int           `env:"MAX_SESSIONS" help:"Sessions at the relay at the same time."`
	MessagesPerSession int           `env:"MESSAGES_PER_SESSION" help:"Transactions after which a session is closed."`
	SessionAge         time.Duration `env:"SESSION_AGE" help:"Age at which a session is closed."`
	SessionIdle        time.Duration `env:"SESSION_IDLE" help:"How long an unused session is kept."`

	RelayPauseMin time.Duration `env:"RELAY_PAUSE_MIN" help:"First pause between probes of a relay that is at fault; each pause is twice the one before."`
	RelayPauseMax time.Duration `env:"RELAY_PAUSE_MAX" help:"Longest pause between probes of a relay that is at fault."`

	Timeouts Timeouts
}

// Timeouts are how long to wait for each step (RFC 5321 section 4.5.3.2).
type Timeouts struct {
	Connect  time.Duration `env:"SMTP_TIMEOUT_CONNECT" help:"Time for resolving the relay's name and connecting."`
	TLS      time.Duration `env:"SMTP_TIMEOUT_TLS" help:"Time for STARTTLS and for the TLS handshake."`
	Greeting time.Duration `env:"SMTP_TIMEOUT_GREETING" help:"Time for the relay's greeting."`
	EHLO     time.Duration `env:"SMTP_TIMEOUT_EHLO" help:"Time for the reply to EHLO."`
	Auth     time.Duration `env:"SMTP_TIMEOUT_AUTH" help:"Time for each reply to AUTH."`
	Mail     time.Duration `env:"SMTP_TIMEOUT_MAIL" help:"Time for the reply to MAIL."`
	Rcpt     time.Duration `env:"SMTP_TIMEOUT_RCPT" help:"Time for the reply to each RCPT."`
	Data     time.Duration `env:"SMTP_TIMEOUT_DATA" help:"Time for the reply to DATA."`
	Block    time.Duration `env:"SMTP_TIMEOUT_BLOCK" help:"Time for sending each block of the body."`
	Dot      time.Duration `env:"SMTP_TIMEOUT_DOT" help:"Time for the reply to the final dot; a short one makes doubles."`
}

// DefaultConfig lacks only the URL.
func DefaultConfig() Config {
	return Config{
		MaxSessions:        10,
		MessagesPerSession: 100,
		SessionAge:         5 * time.Minute,
		SessionIdle:        15 * time.Second,
		RelayPauseMin:      time.Second,
		RelayPauseMax:      time.Minute,
		Timeouts: Timeouts{
			Connect:  30 * time.Second,
			TLS:      30 * time.Second,
			Greeting: time.Minute,
			EHLO:     time.Minute,
			Auth:     time.Minute,
			Mail:     5 * time.Minute,
			Rcpt:     5 * time.Minute,
			Data:     2 * time.Minute,
			Block:    3 * time.Minute,
			Dot:      10 * time.Minute,
		},
	}
}

// Validate reports everything that is wrong, each error naming its variable.
// No error holds a secret.
func (c Config) Validate() []error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	t, err := parseURL(c.URL)
	// Empty is for whoever has a relay of its own to put there; New refuses it.
	check(c.URL != "" && err != nil, "SMTP_URL: %w", err)
	check(c.Password != "" && c.Username == "", "SMTP_PASSWORD: is set without SMTP_USERNAME")
	check(c.Username != "" && c.Password == "", "SMTP_USERNAME: is set without SMTP_PASSWORD")
	// NUL separates the fields of AUTH PLAIN (RFC 4616 section 2).
	check(strings.ContainsRune(c.Username+string(c.Password), 0), "SMTP_USERNAME, SMTP_PASSWORD: hold a NUL")
	check(err == nil && t.tls == tlsNone && c.Username != "" && !c.AuthWithoutTLS,
		"SMTP_URL: ?tls=none would send the password in clear text; take it out, or set SMTP_AUTH_WITHOUT_TLS=true")
	_, err = c.roots()
	check(err != nil, "SMTP_CA_FILE: %w", err)
	check(c.EHLOName != "" && mail.ValidateAddrSpec("a@"+c.EHLOName) != nil,
		"EHLO_NAME: %q is neither a domain nor an address literal like [192.0.2.1]", c.EHLOName)
	check(c.MaxSessions < 1, "MAX_SESSIONS: is %d, must be at least 1", c.MaxSessions)
	check(c.MessagesPerSession < 1, "MESSAGES_PER_SESSION: is %d, must be at least 1", c.MessagesPerSession)
	check(c.RelayPauseMax < c.RelayPauseMin, "RELAY_PAUSE_MAX: is %s, less than RELAY_PAUSE_MIN (%s)", c.RelayPauseMax, c.RelayPauseMin)
	for name, d := range c.durations() {
		check(d <= 0, "%s: is %s, must be more than 0", name, d)
	}
	return errs
}

func (c Config) durations() map[string]time.Duration {
	t := c.Timeouts
	return map[string]time.Duration{
		"SESSION_AGE": c.SessionAge, "SESSION_IDLE": c.SessionIdle,
		"RELAY_PAUSE_MIN": c.RelayPauseMin, "RELAY_PAUSE_MAX": c.RelayPauseMax,
		"SMTP_TIMEOUT_CONNECT": t.Connect, "SMTP_TIMEOUT_TLS": t.TLS, "SMTP_TIMEOUT_GREETING": t.Greeting,
		"SMTP_TIMEOUT_EHLO": t.EHLO, "SMTP_TIMEOUT_AUTH": t.Auth, "SMTP_TIMEOUT_MAIL": t.Mail,
		"SMTP_TIMEOUT_RCPT": t.Rcpt, "SMTP_TIMEOUT_DATA": t.Data, "SMTP_TIMEOUT_BLOCK": t.Block, "SMTP_TIMEOUT_DOT": t.Dot,
	}
}

// roots are the system's certificates and those of SMTP_CA_FILE; nil means the
// system's alone.
func (c Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		// A machine without certificates of its own: the file alone counts.
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("holds no PEM certificate")
	}
	return pool, nil
}

package smtp

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/mail"
)

// Config says which relay to use and how. A Config is validated before use.
type Config struct {
	URL      string      `env:"SMTP_URL" shape:"url" help:"The relay: smtp://host:587 (STARTTLS required) or smtps://host:465; ?tls=none, opportunistic or required changes what smtp:// asks for; ?servername= is the name in its certificate, if that is not the host. If it is empty, a worker with an embedded broker uses its development relay, and any other worker does not start."`
	Username string      `env:"SMTP_USERNAME" help:"User name at the relay; empty: no AUTH."`
	Password mail.Secret `env:"SMTP_PASSWORD" help:"Password of SMTP_USERNAME. Use at least 4 characters: a shorter one is not withheld from logs and records if the relay repeats it."`
	// PasswordFile is where Password was read from; empty if it was not. Each session
	// reads it again.
	PasswordFile   string `fileof:"SMTP_PASSWORD"`
	CAFile         string `env:"SMTP_CA_FILE" help:"File of PEM certificates that are trusted to sign the relay's certificate, besides the system's."`
	Auth           string `env:"SMTP_AUTH" help:"The one AUTH mechanism to use, plain or login; empty: the first of them that the relay offers, and if it refuses that one, the other."`
	AuthWithoutTLS bool   `env:"SMTP_AUTH_WITHOUT_TLS" help:"Send the password in clear text if the session has no TLS."`
	DiscardEHLO    string `env:"SMTP_DISCARD_EHLO" help:"Extensions that are not used although the relay offers them, separated by commas: any of PIPELINING, SIZE, 8BITMIME, SMTPUTF8, STARTTLS, AUTH."`
	EHLOName       string `env:"SMTP_EHLO_NAME" help:"Name to greet the relay with; empty: the host's name if it has a domain, else its address."`
	EightBit       string `env:"SMTP_EIGHTBIT" help:"What to do with bytes above 127 at a relay that does not offer 8BITMIME: send them as they are, and say so in the event, or fail the mail with 5.6.3."`

	MaxSessions        int           `env:"SMTP_MAX_SESSIONS" help:"Most sessions at the relay at the same time, up to 4096."`
	MessagesPerSession int           `env:"SMTP_MESSAGES_PER_SESSION" help:"Transactions after which a session is closed."`
	SessionAge         time.Duration `env:"SMTP_SESSION_AGE" help:"Age at which a session is closed."`
	SessionIdle        time.Duration `env:"SMTP_SESSION_IDLE" help:"How long an unused session is kept."`

	PauseMin time.Duration `env:"SMTP_PAUSE_MIN" help:"First pause between probes of a relay that is at fault; each pause is twice the one before."`
	PauseMax time.Duration `env:"SMTP_PAUSE_MAX" help:"Longest pause between probes of a relay that is at fault; ten times that if it says that a limit of the account is reached."`

	Timeouts Timeouts

	// Rules returns the operator's rules of this moment; nil means none. It is called for
	// each reply that refuses something, by any goroutine.
	Rules func() []Rule
}

// mostSessions is how many messages of a lane the broker hands out at the same time:
// more sessions would stay idle.
const mostSessions = 4096

// DefaultConfig lacks only the URL.
func DefaultConfig() Config {
	return Config{
		EightBit:           "send",
		MaxSessions:        10,
		MessagesPerSession: 100,
		SessionAge:         5 * time.Minute,
		SessionIdle:        15 * time.Second,
		PauseMin:           time.Second,
		PauseMax:           time.Minute,
		Timeouts: Timeouts{
			Connect: time.Minute,
			Command: 5 * time.Minute,
			Data:    3 * time.Minute,
			Dot:     10 * time.Minute,
		},
	}
}

// Validate returns an error for each variable that is wrong, and names it. No
// error holds a secret.
func (c Config) Validate() []error {
	var wrong check.Errors
	t, err := parseURL(c.URL)
	// A worker with a relay of its own fills in an empty URL; New refuses it.
	wrong.If(c.URL != "" && err != nil, "SMTP_URL: %w", err)
	wrong.If(c.URL == "" && c.Username != "", "SMTP_URL: is not set, but SMTP_USERNAME is: set it to the relay, like smtp://relay.example.com:587")
	wrong.If(c.Password != "" && c.Username == "", "SMTP_PASSWORD: is set without SMTP_USERNAME")
	// What is wrong with the file was reported when it was read.
	wrong.If(c.Username != "" && c.Password == "" && c.PasswordFile == "", "SMTP_USERNAME: is set without SMTP_PASSWORD")
	// NUL separates the fields of AUTH PLAIN (RFC 4616 section 2).
	wrong.If(strings.ContainsRune(c.Username+string(c.Password), 0), "SMTP_USERNAME, SMTP_PASSWORD: hold a NUL")
	wrong.If(err == nil && t.tls == tlsNone && c.Username != "" && !c.AuthWithoutTLS,
		"SMTP_URL: ?tls=none would send the password in clear text; remove it, or set SMTP_AUTH_WITHOUT_TLS=true")
	if c.CAFile != "" {
		_, err := c.authorities().Read()
		wrong.If(err != nil, "%w", err)
	}
	wrong.If(c.Auth != "" && !slices.Contains(mechanisms, strings.ToUpper(c.Auth)), "SMTP_AUTH: is %q, must be plain or login", c.Auth)
	for _, keyword := range c.discarded() {
		wrong.If(!slices.Contains(extensionsUsed, keyword), "SMTP_DISCARD_EHLO: %q is none of %s", keyword, strings.Join(extensionsUsed, ", "))
	}
	wrong.If(c.EHLOName != "" && !mail.IsHostName(c.EHLOName),
		"SMTP_EHLO_NAME: %q is neither a domain nor an address literal like [192.0.2.1]", c.EHLOName)
	wrong.If(c.EightBit != "send" && c.EightBit != "fail", "SMTP_EIGHTBIT: %q is not send or fail", c.EightBit)
	wrong.If(c.MaxSessions < 1 || c.MaxSessions > mostSessions, "SMTP_MAX_SESSIONS: is %d, must be 1 to %d", c.MaxSessions, mostSessions)
	wrong.If(c.MessagesPerSession < 1, "SMTP_MESSAGES_PER_SESSION: is %d, must be at least 1", c.MessagesPerSession)
	wrong.If(c.PauseMax < c.PauseMin, "SMTP_PAUSE_MAX: is %s, less than SMTP_PAUSE_MIN (%s)", c.PauseMax, c.PauseMin)
	for name, d := range c.durations() {
		wrong.If(*d <= 0, "%s: is %s, must be positive", name, *d)
	}
	return wrong
}

// extensionsUsed are the keywords that [parseExtensions] knows.
var extensionsUsed = []string{"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "STARTTLS", "AUTH"}

// discarded are the keywords of DiscardEHLO, in capitals.
func (c Config) discarded() []string {
	return strings.FieldsFunc(strings.ToUpper(c.DiscardEHLO), func(r rune) bool { return r == ',' || r == ' ' })
}

// durations maps each duration to its variable.
func (c *Config) durations() map[string]*time.Duration {
	all := c.Timeouts.byName()
	maps.Copy(all, map[string]*time.Duration{
		"SMTP_SESSION_AGE": &c.SessionAge, "SMTP_SESSION_IDLE": &c.SessionIdle,
		"SMTP_PAUSE_MIN": &c.PauseMin, "SMTP_PAUSE_MAX": &c.PauseMax,
	})
	return all
}

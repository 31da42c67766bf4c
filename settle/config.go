package settle

import (
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/schema"
)

// Config says when to try again and when to give up.
type Config struct {
	MaxAttempts int             `env:"POSTRIDER_MAX_ATTEMPTS" help:"Attempts at a message before it is dead-lettered, 1 to 100."`
	RetryAfter  []time.Duration `env:"POSTRIDER_RETRY_AFTER" help:"Pauses between attempts. The last one repeats. Each is jittered by 10 percent."`
	MaxAge      time.Duration   `env:"POSTRIDER_MAX_AGE" help:"Age from which on a message is dead-lettered instead of tried again. It counts from send_at, if that is set."`
	// RecipientsPerTransaction bounds RCPT commands. RFC 5321 section 4.5.3.1.8
	// lets a relay refuse more than 100.
	RecipientsPerTransaction int `env:"SMTP_RECIPIENTS_PER_TRANSACTION" help:"Recipients in one SMTP transaction."`

	// PauseMin and PauseMax bound the pause before a message is tried again after
	// the relay's own fault. They come from the relay's settings.
	PauseMin, PauseMax time.Duration
}

// DefaultConfig is what a worker does with nothing set.
func DefaultConfig() Config {
	return Config{
		MaxAttempts: 25,
		RetryAfter: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
			time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour},
		MaxAge:                   120 * time.Hour,
		RecipientsPerTransaction: 50,
		PauseMin:                 time.Second,
		PauseMax:                 time.Minute,
	}
}

// Validate reports everything that is wrong. Each error names its variable.
func (c Config) Validate() []error {
	var wrong check.Errors
	wrong.If(c.MaxAttempts < 1 || c.MaxAttempts > 100, "POSTRIDER_MAX_ATTEMPTS: is %d, must be 1 to 100", c.MaxAttempts)
	wrong.If(len(c.RetryAfter) == 0, "POSTRIDER_RETRY_AFTER: names no pause")
	for _, d := range c.RetryAfter {
		wrong.If(d < 100*time.Millisecond, "POSTRIDER_RETRY_AFTER: %s is below 100ms", d)
	}
	wrong.If(c.MaxAge < time.Second, "POSTRIDER_MAX_AGE: is %s, must be at least 1s", c.MaxAge)
	wrong.If(c.RecipientsPerTransaction < 1 || c.RecipientsPerTransaction > schema.MaxRecipients,
		"SMTP_RECIPIENTS_PER_TRANSACTION: is %d, must be 1 to %d", c.RecipientsPerTransaction, schema.MaxRecipients)
	return wrong
}

package consumer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// Config says how much mail is taken at once and when to give up.
type Config struct {
	Lanes       Lanes         `env:"LANES" help:"Names and weights of the lanes: a busy lane gets sessions by its weight."`
	MaxAttempts int           `env:"MAX_ATTEMPTS" help:"Attempts at a message before it is dead, 1 to 100."`
	RetryAfter  Durations     `env:"RETRY_AFTER" help:"Pauses between attempts; the last one repeats, each is jittered by 10 percent."`
	MaxAge      time.Duration `env:"MAX_AGE" help:"Age at which a message is dead, whatever its attempts."`
	// RecipientsPerTransaction bounds RCPT commands; RFC 5321 section 4.5.3.1.8
	// lets a relay refuse more than 100.
	RecipientsPerTransaction int           `env:"RECIPIENTS_PER_TRANSACTION" help:"Recipients that are sent to in one SMTP transaction."`
	Drain                    time.Duration `env:"DRAIN" help:"Time that messages in hand are given to end when the worker is told to stop."`
	SweepInterval            time.Duration `env:"SWEEP_INTERVAL" help:"Pause between searches for messages that no consumer would hand out any more."`

	// Slots is the number of messages worked on at once: the relay's sessions.
	Slots int
	// AckWait is the one in force at the broker, for each consumer the shortest.
	AckWait time.Duration
	// PauseMin and PauseMax bound the pause after the relay's own fault.
	PauseMin, PauseMax time.Duration
}

// DefaultConfig is what a worker does with nothing set.
func DefaultConfig() Config {
	return Config{
		Lanes:       Lanes{{"urgent", 6}, {"normal", 3}, {"bulk", 1}},
		MaxAttempts: 25,
		RetryAfter: Durations{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
			time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour},
		MaxAge:                   120 * time.Hour,
		RecipientsPerTransaction: 50,
		Drain:                    75 * time.Second,
		SweepInterval:            time.Minute,
		Slots:                    10,
		AckWait:                  2 * time.Minute,
		PauseMin:                 time.Second,
		PauseMax:                 time.Minute,
	}
}

// Validate reports everything that is wrong, each error naming its variable.
func (c Config) Validate() []error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Lanes) == 0, "LANES: names no lane")
	check(c.MaxAttempts < 1 || c.MaxAttempts > 100, "MAX_ATTEMPTS: is %d, must be 1 to 100", c.MaxAttempts)
	check(len(c.RetryAfter) == 0, "RETRY_AFTER: names no pause")
	for _, d := range c.RetryAfter {
		check(d < 100*time.Millisecond, "RETRY_AFTER: %s is below 100ms", d)
	}
	check(c.MaxAge < time.Second, "MAX_AGE: is %s, must be at least 1s", c.MaxAge)
	check(c.RecipientsPerTransaction < 1 || c.RecipientsPerTransaction > schema.MaxRecipients,
		"RECIPIENTS_PER_TRANSACTION: is %d, must be 1 to %d", c.RecipientsPerTransaction, schema.MaxRecipients)
	check(c.Drain < time.Second, "DRAIN: is %s, must be at least 1s", c.Drain)
	check(c.SweepInterval < time.Second, "SWEEP_INTERVAL: is %s, must be at least 1s", c.SweepInterval)
	return errs
}

// Weighted is a lane and the share of sessions it gets when all are busy.
type Weighted struct {
	Lane   wire.Lane
	Weight int
}

// Lanes is written "urgent=6,normal=3,bulk=1".
type Lanes []Weighted

// Names are the lanes in the order written.
func (l Lanes) Names() []wire.Lane {
	names := make([]wire.Lane, len(l))
	for i, w := range l {
		names[i] = w.Lane
	}
	return names
}

// UnmarshalText reads names and weights; a name alone weighs 1.
func (l *Lanes) UnmarshalText(b []byte) error {
	*l = nil
	seen := make(map[wire.Lane]bool)
	for part := range strings.SplitSeq(string(b), ",") {
		name, weight, weighted := strings.Cut(strings.TrimSpace(part), "=")
		w := Weighted{Lane: wire.Lane(name), Weight: 1}
		if err := w.Lane.Validate(); err != nil {
			return err
		}
		if weighted {
			var err error
			if w.Weight, err = strconv.Atoi(weight); err != nil || w.Weight < 1 || w.Weight > 1000 {
				return fmt.Errorf("lane %s: weight %q is not 1 to 1000", name, weight)
			}
		}
		if seen[w.Lane] {
			return fmt.Errorf("lane %s stands twice", name)
		}
		seen[w.Lane] = true
		*l = append(*l, w)
	}
	return nil
}

// MarshalText writes names and weights.
func (l Lanes) MarshalText() ([]byte, error) {
	parts := make([]string, len(l))
	for i, w := range l {
		parts[i] = fmt.Sprintf("%s=%d", w.Lane, w.Weight)
	}
	return []byte(strings.Join(parts, ",")), nil
}

// Durations is written "1m,5m,1h".
type Durations []time.Duration

// UnmarshalText reads the durations.
func (d *Durations) UnmarshalText(b []byte) error {
	*d = nil
	for part := range strings.SplitSeq(string(b), ",") {
		v, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return errors.New("is not a list of durations like 1m,5m,1h")
		}
		*d = append(*d, v)
	}
	return nil
}

// MarshalText writes the durations.
func (d Durations) MarshalText() ([]byte, error) {
	parts := make([]string, len(d))
	for i, v := range d {
		parts[i] = v.String()
	}
	return []byte(strings.Join(parts, ",")), nil
}

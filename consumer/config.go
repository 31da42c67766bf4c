package consumer

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/wire"
)

// Config says how much mail is taken at once.
type Config struct {
	Lanes         Lanes         `env:"POSTRIDER_LANES" help:"Names and weights of the lanes. A busy lane gets sessions by its weight."`
	Drain         time.Duration `env:"POSTRIDER_DRAIN" help:"Time for messages in flight to be settled when the worker is told to stop."`
	SweepInterval time.Duration `env:"POSTRIDER_SWEEP_INTERVAL" help:"Pause between searches for messages that no consumer would deliver any more."`

	// Slots is the number of messages worked on at once: the relay's sessions.
	Slots int
	// MaxBytes bounds the bytes of all messages in flight. One message may always
	// be in flight, whatever its size.
	MaxBytes int
	// AckWait is what the broker uses, of all consumers the shortest.
	AckWait time.Duration
}

// DefaultConfig is what a worker does with nothing set.
func DefaultConfig() Config {
	return Config{
		Lanes:         Lanes{{"urgent", 6}, {"normal", 3}, {"bulk", 1}},
		Drain:         75 * time.Second,
		SweepInterval: time.Minute,
		Slots:         10,
		MaxBytes:      64 << 20,
		AckWait:       2 * time.Minute,
	}
}

// Validate reports everything that is wrong. Each error names its variable.
func (c Config) Validate() []error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Lanes) == 0, "POSTRIDER_LANES: names no lane")
	check(c.Drain < time.Second, "POSTRIDER_DRAIN: is %s, must be at least 1s", c.Drain)
	check(c.SweepInterval < time.Second, "POSTRIDER_SWEEP_INTERVAL: is %s, must be at least 1s", c.SweepInterval)
	return errs
}

// Weighted is a lane and its share of the sessions when all are busy.
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

// UnmarshalText reads names and weights. A name alone has weight 1.
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
				return fmt.Errorf("lane %s: weight %q must be 1 to 1000", name, weight)
			}
		}
		if seen[w.Lane] {
			return fmt.Errorf("lane %s is named twice", name)
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

package consumer

import (
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/wire"
)

// Config says how much mail is taken at once.
type Config struct {
	Lanes         wire.Lanes    `env:"POSTRIDER_LANES" help:"Names and weights of the lanes; a name alone has weight 1. A busy lane gets sessions by its weight."`
	Drain         time.Duration `env:"POSTRIDER_DRAIN" help:"Time for messages in flight to be settled when the worker is told to stop."`
	SweepInterval time.Duration `env:"POSTRIDER_SWEEP_INTERVAL" help:"Pause between searches for messages that no consumer would deliver any more."`

	// Slots is the number of messages worked on at once: the relay's sessions.
	Slots int
	// MaxBytes bounds the bytes of all messages in flight. One message may always
	// be in flight, whatever its size.
	MaxBytes int
	// RenewAtArrival is for servers with replicas: one that becomes the leader takes
	// what is older than AckWait and was never renewed for expired. With the embedded
	// broker a worker that is killed would wait an AckWait for its own mail.
	RenewAtArrival bool
	// AckWait is the shortest AckWait of all durable consumers at the broker.
	AckWait time.Duration
}

// DefaultConfig is what a worker does with nothing set.
func DefaultConfig() Config {
	return Config{
		Lanes:         wire.Lanes{{Lane: "urgent", Weight: 6}, {Lane: "normal", Weight: 3}, {Lane: "bulk", Weight: 1}},
		Drain:         75 * time.Second,
		SweepInterval: time.Minute,
		Slots:         10,
		MaxBytes:      32 << 20,
		AckWait:       2 * time.Minute,
	}
}

// Validate reports everything that is wrong. Each error names its variable.
func (c Config) Validate() []error {
	var wrong check.Errors
	wrong.If(len(c.Lanes) == 0, "POSTRIDER_LANES: names no lane")
	wrong.If(c.Drain < time.Second, "POSTRIDER_DRAIN: is %s, must be at least 1s", c.Drain)
	wrong.If(c.SweepInterval < time.Second, "POSTRIDER_SWEEP_INTERVAL: is %s, must be at least 1s", c.SweepInterval)
	return wrong
}

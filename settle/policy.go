package settle

import (
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// Standing is what the decision on an outcome depends on.
type Standing struct {
	// Attempts used up, the one that has this outcome included.
	Attempts int
	// MaxAttempts is the message's own limit, 0 for the configured one.
	MaxAttempts int
	// Began is when its age began to count.
	Began time.Time
	// Expires is the message's own end, zero for none.
	Expires time.Time
	Now     time.Time
	// Jitter, from -1 to 1, moves the next attempt by up to a tenth of its pause.
	Jitter float64
}

// Decision is what becomes of a recipient.
type Decision struct {
	State wire.State
	// Reason is set with [wire.StateDead].
	Reason mail.Reason
	// Due is set with [wire.StateScheduled].
	Due time.Time
}

// deadline is when a message is given up: its age or its own expiry, whichever
// comes first.
func (c Config) deadline(s Standing) time.Time {
	end := s.Began.Add(c.MaxAge)
	if !s.Expires.IsZero() && s.Expires.Before(end) {
		return s.Expires
	}
	return end
}

// tooOld reports a message that is to be given up without another attempt.
func (c Config) tooOld(s Standing) bool { return s.Now.After(c.deadline(s)) }

// Decide says what becomes of a recipient with that outcome. Outcomes that
// count nothing leave the recipient pending.
func (c Config) Decide(o mail.Class, s Standing) Decision {
	switch o {
	case mail.Delivered:
		return Decision{State: wire.StateDelivered}
	case mail.Failed:
		return Decision{State: wire.StateDead, Reason: mail.ReasonFailed}
	case mail.Deferred, mail.Uncertain:
		return c.again(s)
	}
	return Decision{State: wire.StatePending}
}

func (c Config) again(s Standing) Decision {
	limit := c.MaxAttempts
	if s.MaxAttempts > 0 {
		limit = s.MaxAttempts
	}
	if s.Attempts >= limit {
		return Decision{State: wire.StateDead, Reason: mail.ReasonExhausted}
	}
	pause := c.RetryAfter[min(s.Attempts, len(c.RetryAfter))-1]
	pause += time.Duration(s.Jitter * float64(pause) / 10)
	due := s.Now.Add(pause)
	if due.After(c.deadline(s)) {
		return Decision{State: wire.StateDead, Reason: mail.ReasonExpired}
	}
	return Decision{State: wire.StateScheduled, Due: due}
}

// jitter spreads retries without a source of randomness: of one message at one
// generation it is always the same. It is from -1 to 1.
func (d *Delivery) jitter() float64 {
	x := d.Sequence*0x9E3779B97F4A7C15 + uint64(d.copy.Generation)*0xBF58476D1CE4E5B9 + uint64(d.copy.Enqueued.UnixNano())
	x ^= x >> 31
	x *= 0x94D049BB133111EB
	return float64(x>>11)/(1<<52) - 1
}

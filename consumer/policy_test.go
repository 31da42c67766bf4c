package consumer

import (
	"testing"
	"time"

	"github.com/postrider/postrider/schema"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := Policy{MaxAttempts: 3, RetryAfter: []time.Duration{time.Minute, 5 * time.Minute}, MaxAge: time.Hour}
	later := func(d time.Duration) Decision { return Decision{State: schema.StateLater, Due: now.Add(d)} }
	dead := func(r schema.Reason) Decision { return Decision{State: schema.StateDead, Reason: r} }
	open := Decision{State: schema.StateOpen}
	for _, c := range []struct {
		name  string
		class schema.Class
		s     Standing
		want  Decision
	}{
		{"delivered", schema.Delivered, Standing{Attempts: 1, Began: now}, Decision{State: schema.StateDelivered}},
		{"delivered at the last attempt", schema.Delivered, Standing{Attempts: 3, Began: now.Add(-2 * time.Hour)}, Decision{State: schema.StateDelivered}},
		{"failed", schema.Failed, Standing{Attempts: 1, Began: now}, dead(schema.ReasonFailed)},
		{"first deferral", schema.Deferred, Standing{Attempts: 1, Began: now}, later(time.Minute)},
		{"second deferral", schema.Deferred, Standing{Attempts: 2, Began: now}, later(5 * time.Minute)},
		{"attempts used up", schema.Deferred, Standing{Attempts: 3, Began: now}, dead(schema.ReasonExhausted)},
		{"the message's own limit is higher", schema.Deferred, Standing{Attempts: 3, MaxAttempts: 9, Began: now}, later(5 * time.Minute)},
		{"the message's own limit is lower", schema.Deferred, Standing{Attempts: 1, MaxAttempts: 1, Began: now}, dead(schema.ReasonExhausted)},
		{"the last pause repeats", schema.Deferred, Standing{Attempts: 8, MaxAttempts: 9, Began: now}, later(5 * time.Minute)},
		{"the next attempt would be too old", schema.Deferred, Standing{Attempts: 2, Began: now.Add(-56 * time.Minute)}, dead(schema.ReasonExpired)},
		{"the next attempt is just in time", schema.Deferred, Standing{Attempts: 2, Began: now.Add(-55 * time.Minute)}, later(5 * time.Minute)},
		{"the message's own end", schema.Deferred, Standing{Attempts: 1, Began: now, Expires: now.Add(59 * time.Second)}, dead(schema.ReasonExpired)},
		{"an own end beyond the age", schema.Deferred, Standing{Attempts: 1, Began: now.Add(-60 * time.Minute), Expires: now.Add(time.Hour)}, dead(schema.ReasonExpired)},
		{"jitter up", schema.Deferred, Standing{Attempts: 1, Began: now, Jitter: 1}, later(66 * time.Second)},
		{"jitter down", schema.Deferred, Standing{Attempts: 1, Began: now, Jitter: -1}, later(54 * time.Second)},
		{"uncertain is as deferred", schema.Uncertain, Standing{Attempts: 1, Began: now}, later(time.Minute)},
		{"uncertain at the end", schema.Uncertain, Standing{Attempts: 3, Began: now}, dead(schema.ReasonExhausted)},
		{"the relay's fault counts nothing", schema.Delayed, Standing{Attempts: 9, Began: now}, open},
		{"not tried", schema.Open, Standing{Attempts: 9, Began: now}, open},
	} {
		c.s.Now = now
		if got := p.Decide(c.class, c.s); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	for age, want := range map[time.Duration]bool{time.Hour: false, time.Hour + 1: true} {
		if got := p.Expired(Standing{Now: now, Began: now.Add(-age)}); got != want {
			t.Errorf("expired at age %s: %v", age, got)
		}
	}
}

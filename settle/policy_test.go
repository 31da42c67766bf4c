package settle

import (
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := Config{MaxAttempts: 3, RetryAfter: []time.Duration{time.Minute, 5 * time.Minute}, MaxAge: time.Hour}
	later := func(d time.Duration) Decision { return Decision{State: wire.StateScheduled, Due: now.Add(d)} }
	dead := func(r mail.Reason) Decision { return Decision{State: wire.StateDead, Reason: r} }
	open := Decision{State: wire.StatePending}
	for _, c := range []struct {
		name  string
		class mail.Class
		s     Standing
		want  Decision
	}{
		{"delivered", mail.Delivered, Standing{Attempts: 1, Began: now}, Decision{State: wire.StateDelivered}},
		{"delivered at the last attempt", mail.Delivered, Standing{Attempts: 3, Began: now.Add(-2 * time.Hour)}, Decision{State: wire.StateDelivered}},
		{"failed", mail.Failed, Standing{Attempts: 1, Began: now}, dead(mail.ReasonFailed)},
		{"first deferral", mail.Deferred, Standing{Attempts: 1, Began: now}, later(time.Minute)},
		{"second deferral", mail.Deferred, Standing{Attempts: 2, Began: now}, later(5 * time.Minute)},
		{"attempts used up", mail.Deferred, Standing{Attempts: 3, Began: now}, dead(mail.ReasonExhausted)},
		{"the message's own limit is higher", mail.Deferred, Standing{Attempts: 3, MaxAttempts: 9, Began: now}, later(5 * time.Minute)},
		{"the message's own limit is lower", mail.Deferred, Standing{Attempts: 1, MaxAttempts: 1, Began: now}, dead(mail.ReasonExhausted)},
		{"the last pause repeats", mail.Deferred, Standing{Attempts: 8, MaxAttempts: 9, Began: now}, later(5 * time.Minute)},
		{"the next attempt would be too old", mail.Deferred, Standing{Attempts: 2, Began: now.Add(-56 * time.Minute)}, dead(mail.ReasonExpired)},
		{"the next attempt is just in time", mail.Deferred, Standing{Attempts: 2, Began: now.Add(-55 * time.Minute)}, later(5 * time.Minute)},
		{"the message's own end", mail.Deferred, Standing{Attempts: 1, Began: now, Expires: now.Add(59 * time.Second)}, dead(mail.ReasonExpired)},
		{"an own end beyond the age", mail.Deferred, Standing{Attempts: 1, Began: now.Add(-60 * time.Minute), Expires: now.Add(time.Hour)}, dead(mail.ReasonExpired)},
		{"jitter up", mail.Deferred, Standing{Attempts: 1, Began: now, Jitter: 1}, later(66 * time.Second)},
		{"jitter down", mail.Deferred, Standing{Attempts: 1, Began: now, Jitter: -1}, later(54 * time.Second)},
		{"uncertain is as deferred", mail.Uncertain, Standing{Attempts: 1, Began: now}, later(time.Minute)},
		{"uncertain at the end", mail.Uncertain, Standing{Attempts: 3, Began: now}, dead(mail.ReasonExhausted)},
		{"the relay's fault counts nothing", mail.Requeued, Standing{Attempts: 9, Began: now}, open},
		{"not tried", mail.Pending, Standing{Attempts: 9, Began: now}, open},
	} {
		c.s.Now = now
		if got := p.Decide(c.class, c.s); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	for age, want := range map[time.Duration]bool{time.Hour: false, time.Hour + 1: true} {
		if got := p.tooOld(Standing{Now: now, Began: now.Add(-age)}); got != want {
			t.Errorf("expired at age %s: %v", age, got)
		}
	}
}

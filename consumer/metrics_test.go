package consumer

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestDeadAreCounted: by recipient and reason, a message that nobody could read
// as one, and each from 0 on.
func TestDeadAreCounted(t *testing.T) {
	t.Parallel()
	m := newMetrics(prometheus.NewRegistry(), []wire.Lane{lane})
	dead := func(why mail.Reason) int { return int(counted(t, m.dead.WithLabelValues(string(lane), string(why)))) }
	for _, r := range []*wire.Record{
		{Recipients: []wire.RecipientRecord{
			{State: wire.StateDead, Reason: mail.ReasonFailed}, {State: wire.StateDelivered},
			{State: wire.StateDead, Reason: mail.ReasonFailed}, {State: wire.StateDead, Reason: mail.ReasonExhausted},
		}},
		{Reason: mail.ReasonExpired, Recipients: []wire.RecipientRecord{{State: wire.StateDead, Reason: mail.ReasonExpired}}},
		{Reason: mail.ReasonBadEnvelope},
		{Recipients: []wire.RecipientRecord{{State: wire.StateScheduled}}},
	} {
		r.Lane = lane
		m.settled(r)
	}
	for why, want := range map[mail.Reason]int{
		mail.ReasonFailed: 2, mail.ReasonExhausted: 1, mail.ReasonExpired: 1, mail.ReasonBadEnvelope: 1, mail.ReasonLoop: 0,
	} {
		if got := dead(why); got != want {
			t.Errorf("%s: %d, want %d", why, got, want)
		}
	}
}

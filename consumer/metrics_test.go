package consumer

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/schema"
)

// TestDeadAreCounted: by recipient and reason, a message that nobody could read
// as one, and each from 0 on.
func TestDeadAreCounted(t *testing.T) {
	t.Parallel()
	m := newMetrics(prometheus.NewRegistry(), []schema.Lane{lane})
	dead := func(why schema.Reason) int { return int(counted(t, m.dead.WithLabelValues(string(lane), string(why)))) }
	for _, r := range []*schema.Record{
		{Recipients: []schema.RecipientRecord{
			{State: schema.StateDead, Reason: schema.ReasonFailed}, {State: schema.StateDelivered},
			{State: schema.StateDead, Reason: schema.ReasonFailed}, {State: schema.StateDead, Reason: schema.ReasonExhausted},
		}},
		{Reason: schema.ReasonExpired, Recipients: []schema.RecipientRecord{{State: schema.StateDead, Reason: schema.ReasonExpired}}},
		{Reason: schema.ReasonBadEnvelope},
		{Recipients: []schema.RecipientRecord{{State: schema.StateLater}}},
	} {
		r.Lane = lane
		m.settled(r)
	}
	for why, want := range map[schema.Reason]int{
		schema.ReasonFailed: 2, schema.ReasonExhausted: 1, schema.ReasonExpired: 1, schema.ReasonBadEnvelope: 1, schema.ReasonLoop: 0,
	} {
		if got := dead(why); got != want {
			t.Errorf("%s: %d, want %d", why, got, want)
		}
	}
}

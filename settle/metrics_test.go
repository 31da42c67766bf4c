package settle_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// TestDeadAreCounted: by recipient and reason, a message that nobody could read
// as one, and each from 0 on.
func TestDeadAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	m := settle.New(settle.DefaultConfig(), []wire.Lane{lane}, settle.Parts{Metrics: reg})
	dead := func(why mail.Reason) (n int) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, x := range f.GetMetric() {
				for _, l := range x.GetLabel() {
					if f.GetName() == "postrider_dead_letters_total" && l.GetValue() == string(why) {
						n += int(x.GetCounter().GetValue())
					}
				}
			}
		}
		return n
	}
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
		m.CountSettled(r)
	}
	for why, want := range map[mail.Reason]int{
		mail.ReasonFailed: 2, mail.ReasonExhausted: 1, mail.ReasonExpired: 1, mail.ReasonBadEnvelope: 1, mail.ReasonLoop: 0,
	} {
		if got := dead(why); got != want {
			t.Errorf("%s: %d, want %d", why, got, want)
		}
	}
}

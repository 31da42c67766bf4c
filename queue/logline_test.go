package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestLogLines: a line for each group of recipients of whom a record says the same.
func TestLogLines(t *testing.T) {
	t.Parallel()
	next := "next attempt at " + Clock(at.Add(time.Hour))
	of := func(event wire.Event, recipients ...wire.RecipientRecord) *wire.Record {
		r := &wire.Record{At: at, Due: at.Add(time.Hour), Event: event, Error: "no reply says it", Recipients: recipients}
		for i := range r.Recipients {
			r.Recipients[i].Address, r.Recipients[i].Index = fmt.Sprintf("r%d@x.test", i), i
		}
		return r
	}
	one := func(s wire.State, reply string) wire.RecipientRecord {
		return wire.RecipientRecord{State: s, Code: 250, Reply: reply}
	}
	delivered, scheduled := one(wire.StateDelivered, "ok"), one(wire.StateScheduled, "wait")
	dead, silent := one(wire.StateDead, "no"), wire.RecipientRecord{State: wire.StateDead, Reason: mail.ReasonExpired}
	dead.Reason = mail.ReasonFailed
	unsure := of(wire.EventUncertain, wire.RecipientRecord{State: wire.StateScheduled}, scheduled)
	unsure.Attempts = []wire.Attempt{{Outcomes: []wire.GroupedOutcome{{Recipients: wire.Indexes{0}, Class: mail.Uncertain}}}}
	requeued := of(wire.EventRequeued, one(wire.StateDelivered, "ok"), wire.RecipientRecord{State: wire.StatePending}, wire.RecipientRecord{State: wire.StatePending})
	requeued.Attempts = []wire.Attempt{{Outcomes: []wire.GroupedOutcome{{Recipients: wire.Indexes{1}, Class: mail.Requeued, Code: 503, Enhanced: "5.5.1", Reply: "Need MAIL before RCPT"}}}}
	again := of(wire.EventRequeued, wire.RecipientRecord{State: wire.StateScheduled}, wire.RecipientRecord{State: wire.StateScheduled})
	again.Attempts = requeued.Attempts
	for name, c := range map[string]struct {
		r         *wire.Record
		recipient string
		event     wire.Event
		want      string
	}{
		"unread":               {of(wire.EventFailed), "", "", "failed no reply says it\n"},
		"delivered":            {of(wire.EventDelivered, delivered, delivered), "", "", "delivered r0@x.test, r1@x.test: 250 ok\n"},
		"each its own":         {of(wire.EventFailed, delivered, dead, scheduled), "", "", "delivered r0@x.test: 250 ok\nfailed r1@x.test: failed: 250 no\ndeferred r2@x.test: 250 wait; " + next + "\n"},
		"one of them":          {of(wire.EventFailed, delivered, dead, scheduled), "R1@x.test", "", "failed r1@x.test: failed: 250 no\n"},
		"an event":             {of(wire.EventFailed, delivered, dead, delivered), "", wire.EventDelivered, "delivered r0@x.test, r2@x.test: 250 ok\n"},
		"an event of another":  {of(wire.EventFailed, delivered, dead), "r0@x.test", wire.EventFailed, ""},
		"a domain":             {of(wire.EventDelivered, delivered, delivered), "@x.test", "", "delivered r0@x.test, r1@x.test: 250 ok\n"},
		"nobody":               {of(wire.EventDelivered, delivered), "@y.test", "", ""},
		"no reply":             {of(wire.EventExpired, silent), "", "", "expired r0@x.test: expired: no reply says it\n"},
		"pending":              {of(wire.EventDeferred, one(wire.StatePending, "")), "", "", "pending r0@x.test: the next transaction of this message is for this recipient\n"},
		"pending, not asked":   {of(wire.EventDeferred, one(wire.StatePending, "")), "", wire.EventDeferred, ""},
		"requeued":             {requeued, "r1@x.test", "", "requeued r1@x.test: no attempt counted: 503 5.5.1 Need MAIL before RCPT\n"},
		"requeued by a copy":   {again, "r1@x.test", "", "requeued r1@x.test: 503 5.5.1 Need MAIL before RCPT; " + next + "\n"},
		"requeued, not asked":  {requeued, "r2@x.test", "", "requeued r2@x.test: no attempt counted\n"},
		"send_at":              {of(wire.EventScheduled, wire.RecipientRecord{State: wire.StateScheduled}), "", "", "scheduled r0@x.test: " + next + "\n"},
		"uncertain for one":    {unsure, "", "", "uncertain r0@x.test: " + next + "\ndeferred r1@x.test: 250 wait; " + next + "\n"},
		"replayed, one had it": {of(wire.EventReplayed, delivered, scheduled), "", "", "delivered r0@x.test: 250 ok\nreplayed r1@x.test\n"},
		"discarded":            {of(wire.EventDiscarded, delivered, dead), "", "", "delivered r0@x.test: 250 ok\ndiscarded r1@x.test\n"},
	} {
		got := ""
		for _, l := range LogLines(c.r, c.recipient, c.event) {
			got += string(l.Event) + " " + l.Text() + "\n"
		}
		if got != c.want {
			t.Errorf("%s:\n%swant\n%s", name, got, c.want)
		}
	}
}

package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// TestHistory: each attempt before the first record that has it, whatever their
// clocks say, and once although each recipient's record has its own part of it.
func TestHistory(t *testing.T) {
	t.Parallel()
	attempt := func(n int, session string, recipients ...int) wire.Attempt {
		return wire.Attempt{N: n, At: at.Add(time.Duration(n) * time.Hour), Session: session, Outcomes: []wire.GroupedOutcome{{Recipients: recipients}}}
	}
	first, second := record(0, wire.All, wire.StateScheduled, wire.EventDeferred), record(1, "0", wire.StateDelivered, wire.EventDelivered)
	first.Attempts = []wire.Attempt{attempt(1, "s", 0)}
	second.Attempts, second.At = []wire.Attempt{attempt(1, "s", 1), attempt(2, "s", 0)}, at.Add(time.Minute)
	m := message(Scheduled, 2)
	m.Log = []wire.Attempt{attempt(2, "s", 0), attempt(3, "s", 0)}
	tr := (&evidence{origin: origin, records: []*wire.Record{second, first}, live: []*Message{m}}).trace(at, nil)
	got := ""
	for _, e := range tr.History() {
		if e.Attempt != nil {
			got += fmt.Sprintf("attempt %d with %d outcomes; ", e.Attempt.N, len(e.Attempt.Outcomes))
		} else {
			got += string(e.Record.Event) + "; "
		}
	}
	const want = "attempt 1 with 2 outcomes; deferred; attempt 2 with 1 outcomes; delivered; attempt 3 with 1 outcomes; "
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if tr.Address(0) != "a@x.test" || tr.Address(9) != "recipient 9" {
		t.Errorf("%q, %q", tr.Address(0), tr.Address(9))
	}
}

// TestRecordWords has every sentence about a decision.
func TestRecordWords(t *testing.T) {
	t.Parallel()
	due := Clock(at.Add(time.Hour))
	of := func(event wire.Event, recipient string, states ...wire.State) *wire.Record {
		r := &wire.Record{Recipient: recipient, At: at, Due: at.Add(time.Hour), Event: event, Replays: 2}
		for i, s := range states {
			r.Recipients = append(r.Recipients, wire.RecipientRecord{Address: fmt.Sprintf("r%d@x.test", i), Index: i, State: s})
		}
		return r
	}
	const pending, delivered, scheduled, dead = wire.StatePending, wire.StateDelivered, wire.StateScheduled, wire.StateDead
	unread, large := of(wire.EventFailed, wire.All), of(wire.EventFailed, wire.All, dead)
	unread.Reason, unread.Error = mail.ReasonBadEnvelope, "sbuject: unknown field"
	large.Error = "the message is too large"
	for name, c := range map[string]struct {
		r    *wire.Record
		want string
	}{
		"scheduled":          {of(wire.EventScheduled, wire.All, scheduled), "scheduled for " + due + ", its send_at"},
		"replayed":           {of(wire.EventReplayed, wire.All, scheduled), "replay 2 by an operator: a new budget of attempts"},
		"replayed for one":   {of(wire.EventReplayed, "0", scheduled), "replay 2 by an operator for r0@x.test: a new budget of attempts"},
		"discarded":          {of(wire.EventDiscarded, wire.All, dead), "discarded by an operator"},
		"discarded unread":   {of(wire.EventDiscarded, "0"), "discarded by an operator"},
		"requeued":           {of(wire.EventRequeued, wire.All, scheduled), "requeued, because the relay or the worker was at fault: no attempt is counted, next attempt at " + due},
		"requeued, pending":  {of(wire.EventRequeued, wire.All, pending), "requeued, because the relay or the worker was at fault: no attempt is counted"},
		"delivered":          {of(wire.EventDelivered, wire.All, delivered), ""},
		"undecoded":          {unread, "dead-lettered undecoded, bad-envelope: sbuject: unknown field"},
		"pending":            {of(wire.EventDeferred, wire.All, delivered, pending), "more transactions of this message follow, for the recipients still pending"},
		"dead and scheduled": {of(wire.EventFailed, wire.All, dead, scheduled), "failed for some, who are dead-lettered; deferred for others, next attempt at " + due},
		"dead":               {of(wire.EventExhausted, "0", dead), "exhausted for r0@x.test: dead-lettered"},
		"dead for a reason":  {large, "failed: dead-lettered: the message is too large"},
		"deferred":           {of(wire.EventDeferred, wire.All, scheduled), "deferred, next attempt at " + due},
		"uncertain for one":  {of(wire.EventUncertain, "0", scheduled), "uncertain for r0@x.test, next attempt at " + due},
	} {
		e := Entry{Record: c.r}
		if got := e.Words(); got != c.want || !e.At().Equal(at) {
			t.Errorf("%s: %q at %s, want %q", name, got, e.At(), c.want)
		}
	}
}

// TestAttemptWords: which relay, how long it took, and whether it counts.
func TestAttemptWords(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]wire.Attempt{
		"attempt 2: relay r:25, session s1, connect 3 ms, data 4 ms, reply 5 ms": {N: 2, Counted: true, Relay: "r:25", Session: "s1", ConnectMS: 3, DataMS: 4, DotMS: 5},
		"attempt 1: relay r:25, session s1, under 1 ms":                          {N: 1, Counted: true, Relay: "r:25", Session: "s1"},
		"attempt, not counted: nothing was sent":                                 {N: 1},
		"attempt, not counted: nothing was sent, connect 3 ms":                   {N: 1, ConnectMS: 3},
	} {
		a.At = at
		if e := (Entry{Attempt: &a}); e.Words() != want || !e.At().Equal(at) {
			t.Errorf("%q at %s, want %q", e.Words(), e.At(), want)
		}
	}
}

func TestOutcomeWords(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]wire.GroupedOutcome{
		"failed at RCPT: 550 5.1.1 no such user":      {Class: mail.Failed, Stage: mail.StageRcpt, Code: 550, Enhanced: "5.1.1", Reply: "no such user"},
		"uncertain at DOT: it hung up":                {Class: mail.Uncertain, Stage: mail.StageDot, Reply: "it hung up"},
		"failed: an address has non-ASCII characters": {Class: mail.Failed, Reply: "an address has non-ASCII characters"},
		"pending": {Class: mail.Pending},
	} {
		if got := OutcomeWords(o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

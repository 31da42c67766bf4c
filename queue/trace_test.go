package queue

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

var at = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

const origin = "1700000000000000000-1"

// record is one of a@x.test alone.
func record(generation int, recipient string, state wire.State, event wire.Event) *wire.Record {
	return &wire.Record{
		ID: "m", Origin: origin, Lane: "normal", Recipient: recipient, Generation: generation, At: at, Event: event, Due: at.Add(time.Hour),
		Recipients: []wire.RecipientRecord{{Address: "a@x.test", State: state, Reason: mail.ReasonFailed, Code: 550, Reply: "no", Relay: "r:25"}},
	}
}

func key(recipient string) wire.Key {
	return wire.Key{Lane: "normal", ID: "m", Origin: origin, Recipient: recipient}
}

// message is one to a@x.test, in the queue for five minutes.
func message(state State, generation int) *Message {
	return &Message{
		Copy: wire.Copy{Key: key(wire.All), Generation: generation}, State: state, Stored: at.Add(-5 * time.Minute), At: at.Add(time.Minute), Before: 7,
		Envelope: &schema.Envelope{From: mail.Address{Email: "me@x.test"}, To: []mail.Address{{Email: "a@x.test"}}, Subject: "Hi"},
	}
}

func buried(recipient string) *deadletter.Found {
	return &deadletter.Found{DeadLetter: &wire.DeadLetter{Copy: wire.Copy{Key: key(recipient), Generation: 1}, Reason: mail.ReasonFailed}, At: at}
}

// TestFate has every sentence about a recipient.
func TestFate(t *testing.T) {
	t.Parallel()
	moving, still := &Lane{Rate: 2}, &Lane{}
	scheduled, dead := record(0, wire.All, wire.StateScheduled, wire.EventDeferred), record(0, wire.All, wire.StateDead, wire.EventFailed)
	exhausted, expired := record(0, wire.All, wire.StateDead, wire.EventExhausted), record(0, wire.All, wire.StateDead, wire.EventExpired)
	exhausted.Recipients[0].Reason, expired.Recipients[0].Reason = mail.ReasonExhausted, mail.ReasonExpired
	unsure := exhausted.Clone()
	unsure.Attempts = []wire.Attempt{{Outcomes: []wire.GroupedOutcome{{Recipients: wire.Indexes{0}, Class: mail.Uncertain}}}}
	replay := record(1, wire.All, wire.StateScheduled, wire.EventReplayed)
	for name, c := range map[string]struct {
		e    evidence
		lane *Lane
		want string // a pattern
	}{
		"waits in a lane that moves":    {evidence{live: []*Message{message(Waiting, 0)}}, moving, `waits: no worker has taken it yet, 7 messages before it in the lane; the lane settles 2\.0 messages a second`},
		"waits in a lane that does not": {evidence{live: []*Message{message(Waiting, 0)}}, still, `waits: .*nothing of the lane was settled within the last minute`},
		"in flight":                     {evidence{live: []*Message{message(InFlight, 0)}}, nil, `waits: taken by a worker: in flight, or requeued and waiting for its next try$`},
		"delivered":                     {evidence{records: []*wire.Record{record(0, wire.All, wire.StateDelivered, wire.EventDelivered)}}, nil, `delivered: accepted by the relay r:25 at .*: 550 no`},
		"pending":                       {evidence{records: []*wire.Record{record(0, wire.All, wire.StatePending, wire.EventDeferred)}, live: []*Message{message(InFlight, 0)}}, nil, `pending: the next transaction of this message is for this recipient; taken by a worker`},
		"pending, no message":           {evidence{records: []*wire.Record{record(0, wire.All, wire.StatePending, wire.EventDeferred)}}, nil, `pending: .*; it is being settled at this moment`},
		"scheduled":                     {evidence{records: []*wire.Record{scheduled}, live: []*Message{message(Scheduled, 1)}}, nil, `deferred: 550 no; next attempt at .* \(in 1m\)`},
		"due":                           {evidence{records: []*wire.Record{scheduled}, live: []*Message{message(Due, 1)}}, moving, `deferred: 550 no; due, and not taken yet; the lane settles`},
		"no copy yet":                   {evidence{records: []*wire.Record{scheduled}}, nil, `its copy is being made for .* \(in 1h\)`},
		"dead":                          {evidence{records: []*wire.Record{dead}, dead: []*deadletter.Found{buried("0")}}, nil, `dead, refused for good: 550 no; send it again: postrider dead replay m`},
		"dead, no letter":               {evidence{records: []*wire.Record{dead}}, nil, `dead, refused for good: 550 no; its dead letter is missing`},
		"exhausted":                     {evidence{records: []*wire.Record{exhausted}}, nil, `dead, exhausted: every attempt that it was allowed was deferred`},
		"uncertain":                     {evidence{records: []*wire.Record{unsure}}, nil, `dead, exhausted: no attempt is left, and the last one is uncertain`},
		"expired":                       {evidence{records: []*wire.Record{expired}}, nil, `dead, expired: its time was over before the next attempt`},
		"discarded":                     {evidence{records: []*wire.Record{record(1, wire.All, wire.StateDead, wire.EventDiscarded)}}, nil, `discarded by an operator at .* \(0s ago\): it will not be sent|\(in 0s\): it will not be sent`},
		"replay interrupted":            {evidence{records: []*wire.Record{replay}, dead: []*deadletter.Found{buried(wire.All)}}, nil, `the replay was interrupted; to continue it: postrider dead replay m`},
		"only a dead letter is left":    {evidence{dead: []*deadletter.Found{{DeadLetter: buried(wire.All).DeadLetter, At: at, Recipients: []mail.Recipient{{Address: "a@x.test"}}}}}, nil, `dead, refused for good; send it again`},
	} {
		c.e.origin = origin
		got := c.e.trace(at, c.lane)
		if len(got.Recipients) != 1 || got.Recipients[0].Address != "a@x.test" || !regexp.MustCompile(c.want).MatchString(got.Recipients[0].Is) {
			t.Errorf("%s: %+v, want %s", name, got.Recipients, c.want)
		}
	}
}

// TestUndecoded: an envelope that cannot be read has no recipients.
func TestUndecoded(t *testing.T) {
	t.Parallel()
	bad := message(Waiting, 0)
	bad.Envelope, bad.Bad = nil, errors.New("sbuject: unknown field")
	event := func(e wire.Event) *wire.Record {
		return &wire.Record{ID: "an id", Origin: origin, Lane: "normal", At: at, Event: e, Reason: mail.ReasonBadEnvelope, Error: "no"}
	}
	for name, c := range map[string]struct {
		e    evidence
		want string
	}{
		"waits":     {evidence{live: []*Message{bad}}, "its envelope cannot be read (sbuject: unknown field): a worker will dead-letter it; no worker has taken it yet"},
		"buried":    {evidence{records: []*wire.Record{event(wire.EventFailed)}, dead: []*deadletter.Found{buried(wire.All)}}, "dead, bad-envelope: no; its envelope as it was published: postrider dead show 'an id' --body"},
		"replayed":  {evidence{records: []*wire.Record{event(wire.EventFailed), event(wire.EventReplayed)}}, "dead, bad-envelope: no"},
		"discarded": {evidence{records: []*wire.Record{event(wire.EventFailed), event(wire.EventDiscarded)}}, "discarded by an operator: it will not be sent"},
	} {
		c.e.origin = origin
		if got := c.e.trace(at, nil); len(got.Recipients) != 0 || !strings.HasPrefix(got.Next, c.want) {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

// TestDeliveredIsFinal: whatever a later record says.
func TestDeliveredIsFinal(t *testing.T) {
	t.Parallel()
	e := &evidence{origin: origin, records: []*wire.Record{
		record(0, wire.All, wire.StateScheduled, wire.EventDeferred), record(1, "0", wire.StateDelivered, wire.EventDelivered), record(2, "0", wire.StateDead, wire.EventFailed),
	}}
	if f := e.trace(at, nil).Recipients[0]; f.State != wire.StateDelivered || !strings.HasPrefix(f.Is, "delivered") {
		t.Errorf("%+v", f)
	}
}

// TestFates: recipients of whom the same is said are one, in the order of the first.
func TestFates(t *testing.T) {
	t.Parallel()
	tr := &Trace{}
	for i, is := range []string{"delivered", "deferred", "delivered", "dead", "deferred"} {
		tr.Recipients = append(tr.Recipients, Fate{RecipientRecord: wire.RecipientRecord{Address: fmt.Sprint(i)}, Is: is})
	}
	if got := fmt.Sprint(tr.Fates()); got != "[{delivered [0 2]} {deferred [1 4]} {dead [3]}]" {
		t.Error(got)
	}
	if got := (&Trace{}).Fates(); got != nil {
		t.Errorf("of nobody: %v", got)
	}
}

// TestBcc: who is told from the others only by the envelope is shown while that is at
// hand.
func TestBcc(t *testing.T) {
	t.Parallel()
	m := message(Waiting, 0)
	m.Envelope.Bcc = []mail.Address{{Email: "secret@x.test"}, {Email: "a@x.test"}}
	l := buried(wire.All)
	l.Body = []byte(`{"from":"me@x.test","to":["a@x.test"],"bcc":["secret@x.test"],"text":"hi"}`)
	l.Recipients = []mail.Recipient{{Address: "a@x.test"}, {Index: 1, Address: "secret@x.test"}}
	for name, e := range map[string]*evidence{"waiting": {origin: origin, live: []*Message{m}}, "dead": {origin: origin, dead: []*deadletter.Found{l}}} {
		trace := e.trace(at, nil)
		if r := trace.Recipients; len(r) != 2 || r[0].Bcc || !r[1].Bcc {
			t.Errorf("%s: %+v", name, r)
		}
		if f := trace.Fates(); strings.Join(f[0].Addresses, ", ") != "a@x.test, secret@x.test (Bcc)" {
			t.Errorf("%s: %+v", name, f)
		}
	}
	settled := &evidence{origin: origin, records: []*wire.Record{record(0, wire.All, wire.StateDelivered, wire.EventDelivered)}}
	if settled.trace(at, nil).Recipients[0].Bcc {
		t.Error("without the envelope nobody knows")
	}
}

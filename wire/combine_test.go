package wire_test

import (
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

var combined = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// states is a record of recipients in those states. It ends with a transaction of
// that session.
func states(session string, all ...wire.State) *wire.Record {
	r := &wire.Record{Generation: 1, Counted: 1, Attempts: []wire.Attempt{{N: 1, Session: "before", At: combined}}}
	for i, s := range all {
		x := wire.RecipientRecord{Index: i, State: s}
		if s == wire.StateDead {
			x.Reason = mail.ReasonFailed
		}
		r.Recipients = append(r.Recipients, x)
	}
	if session != "" {
		r.Attempts = append(r.Attempts, wire.Attempt{N: 1, Session: session, Use: 1, At: combined.Add(time.Minute)})
	}
	return r
}

func statesOf(r *wire.Record) (all []wire.State) {
	for _, x := range r.Recipients {
		all = append(all, x.State)
	}
	return all
}

const (
	pending   = wire.StatePending
	delivered = wire.StateDelivered
	scheduled = wire.StateScheduled
	dead      = wire.StateDead
)

func TestGoOnFrom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		event         wire.Event
		mine, earlier []wire.State
		want          []wire.State
		wantEvent     wire.Event
		together      wire.State
	}{
		"nothing in common":    {"", []wire.State{delivered, pending}, []wire.State{pending, delivered}, []wire.State{delivered, delivered}, "", ""},
		"still pending":        {wire.EventDeferred, []wire.State{delivered, pending}, []wire.State{pending, pending}, []wire.State{delivered, pending}, wire.EventDeferred, ""},
		"delivered beats all":  {wire.EventFailed, []wire.State{dead, delivered}, []wire.State{delivered, pending}, []wire.State{delivered, delivered}, wire.EventDelivered, delivered},
		"the first decides":    {wire.EventDeferred, []wire.State{scheduled, delivered}, []wire.State{dead, pending}, []wire.State{dead, delivered}, wire.EventFailed, ""},
		"why the rest waits":   {wire.EventRequeued, []wire.State{scheduled, scheduled}, []wire.State{delivered, pending}, []wire.State{delivered, scheduled}, wire.EventRequeued, ""},
		"nobody waits anymore": {wire.EventScheduled, []wire.State{scheduled}, []wire.State{delivered}, []wire.State{delivered}, wire.EventDelivered, delivered},
	} {
		mine, earlier := states("mine", c.mine...), states("theirs", c.earlier...)
		if mine.Event = c.event; !mine.Has(pending) {
			mine.Conclude()
		}
		mine.GoOnFrom(earlier)
		if got := statesOf(mine); len(got) != len(c.want) || mine.Event != c.wantEvent || mine.Together != c.together {
			t.Errorf("%s: %v, %q, %q", name, got, mine.Event, mine.Together)
		} else {
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%s: %v, want %v", name, got, c.want)
				}
			}
		}
		if n := len(mine.Attempts); n != 3 || mine.Attempts[1].Session != "theirs" || mine.Attempts[2].Session != "mine" {
			t.Errorf("%s: attempts %+v", name, mine.Attempts)
		}
		if !states("mine", c.mine...).IsIn(mine) || mine.IsIn(earlier) {
			t.Errorf("%s: mine is in it %v, it is in theirs %v", name, states("mine", c.mine...).IsIn(mine), mine.IsIn(earlier))
		}
	}
}

// TestHangUpsAreKept: of two records the larger count of hang-ups stays, whatever
// becomes of the recipient.
func TestHangUpsAreKept(t *testing.T) {
	t.Parallel()
	for name, combine := range map[string]func(mine, other *wire.Record){
		"take over":  func(mine, other *wire.Record) { mine.TakeOver(other) },
		"go on from": func(mine, other *wire.Record) { mine.GoOnFrom(other) },
		"merge":      func(mine, other *wire.Record) { mine.Merge(other.Recipients) },
	} {
		for _, was := range []wire.State{pending, delivered, scheduled} {
			mine, other := states("mine", pending, was, was), states("other", delivered, delivered, delivered)
			mine.Recipients[0].HangUps, mine.Recipients[1].HangUps = 1, 2
			other.Recipients[0].HangUps, other.Recipients[2].HangUps = 3, 1
			combine(mine, other)
			for i, want := range []int{3, 2, 1} {
				if got := mine.Recipients[i].HangUps; got != want {
					t.Errorf("%s, %s: recipient %d has %d hang-ups, want %d", name, was, i, got, want)
				}
			}
		}
	}
	r, before := states("", pending, pending, pending), states("", pending, pending, pending)
	r.TakeOver(nil)
	r.Recipients[1].HangUps, before.Recipients[1].HangUps, r.Recipients[2].HangUps = 1, 1, 1
	if got := r.HungUpSince(before); len(got) != 1 || got[0] != 2 {
		t.Errorf("hung up since: %v", got)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	mine, theirs := states("mine", delivered, delivered, delivered, dead), states("theirs", delivered, delivered, scheduled, delivered)
	if news, twice := mine.Compare(states("", pending, delivered, pending, pending), theirs); len(news) != 1 || news[0].Index != 2 || twice != 1 {
		t.Errorf("new %+v, %d twice", news, twice)
	}
	if _, twice := mine.Compare(nil, theirs); twice != 2 {
		t.Errorf("%d twice of a key without an earlier record", twice)
	}
}

func TestDecidesMore(t *testing.T) {
	t.Parallel()
	r := states("", pending, scheduled)
	for name, c := range map[string]struct {
		before *wire.Record
		want   bool
	}{
		"no record":  {nil, true},
		"the same":   {r, false},
		"less":       {states("", pending, pending), true},
		"other ones": {states("", pending, dead), true},
		"an earlier": {earlier(pending, scheduled), true},
	} {
		if r.DecidesMore(c.before) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
	if states("", pending).DecidesMore(nil) {
		t.Error("pending decides something")
	}
	if states("", delivered, pending).DecidesMore(earlier(delivered, scheduled)) {
		t.Error("who was delivered to before is decided again")
	}
}

// earlier is a record of an earlier generation.
func earlier(all ...wire.State) *wire.Record {
	r := states("", all...)
	r.Generation = 0
	return r
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		theirs   []wire.State
		error    string
		event    wire.Event
		together wire.State
		reason   mail.Reason
	}{
		"the only one":       {[]wire.State{dead}, "", wire.EventDelivered, delivered, ""},
		"one of two dead":    {[]wire.State{dead, dead}, "kept", wire.EventFailed, "", ""},
		"one of two waiting": {[]wire.State{scheduled, scheduled}, "", wire.EventDeferred, scheduled, ""},
		"the last of a few":  {[]wire.State{dead, delivered}, "", wire.EventDelivered, delivered, ""},
		"the last pending":   {[]wire.State{pending, delivered}, "", wire.EventDelivered, delivered, ""},
	} {
		r := states("theirs", c.theirs...)
		if r.Error = "kept"; r.Has(pending) {
			r.Event = wire.EventDeferred
		} else {
			r.Conclude()
		}
		r.Merge([]wire.RecipientRecord{{Index: 0, State: delivered}})
		if r.Recipients[0].State != delivered || r.Event != c.event || r.Together != c.together || r.Reason != c.reason {
			t.Errorf("%s: %q, %q, %q", name, r.Event, r.Together, r.Reason)
		}
		if c.together == delivered && r.Error != "" || c.together == "" && r.Error != c.error {
			t.Errorf("%s: error %q", name, r.Error)
		}
	}
}

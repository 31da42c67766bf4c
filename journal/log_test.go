package journal_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

// to is one recipient in that state.
func to(s wire.State, address string) []wire.RecipientRecord {
	return []wire.RecipientRecord{{Address: address, State: s}}
}

// written writes records, a minute apart and the last one now.
func written(t *testing.T, b *natstest.Broker, now time.Time) {
	t.Helper()
	j := journal.New(b.Conn.Store())
	for i, x := range []struct {
		lane  wire.Lane
		id    string
		event wire.Event
		to    []wire.RecipientRecord
	}{
		{"normal", "one", wire.EventDeferred, to(wire.StateScheduled, "ann@example.net")},
		{"normal", "two", wire.EventFailed, to(wire.StateDead, "bob@example.org")},
		{"bulk", "one", wire.EventFailed, append(to(wire.StateDelivered, "ann@example.net"), to(wire.StateDead, "Carl@Example.Org")...)},
		{"normal", "one", wire.EventDelivered, to(wire.StateDelivered, "ann@example.net")},
	} {
		r := &wire.Record{V: 1, ID: x.id, Origin: wire.Origin(now, uint64(i)), Lane: x.lane, Recipient: wire.All, Generation: i, Event: x.event, At: now.Add(time.Duration(i-3) * time.Minute)}
		for n, to := range x.to {
			to.Index = n
			r.Recipients = append(r.Recipients, to)
		}
		if _, err := j.Set(t.Context(), r.Key(), r, 0, false); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, f journal.Filter, l *journal.Log) string {
	t.Helper()
	s := ""
	for r, err := range l.Search(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprint(r.Generation)
	}
	return s
}

func TestSearch(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal", "bulk")
	l := journal.NewLog(b.Conn.JS())
	if got := names(t, journal.Filter{}, l); got != "" {
		t.Fatalf("an empty log holds %s", got)
	}
	now := b.Conn.Now()
	written(t, b, now)
	// The log follows the records.
	awaitEntries(t, b, "0123")
	for _, c := range []struct {
		want string
		f    journal.Filter
	}{
		{"013", journal.Filter{Lane: "normal"}},
		{"023", journal.Filter{ID: "one"}},
		{"03", journal.Filter{ID: "one", Lane: "normal"}},
		{"1", journal.Filter{ID: wire.Origin(now, 1)}},
		{"12", journal.Filter{Recipient: "@example.ORG"}},
		{"2", journal.Filter{Recipient: "carl@example.org"}},
		{"23", journal.Filter{Event: wire.EventDelivered}},
		{"2", journal.Filter{Event: wire.EventFailed, Lane: "bulk"}},
		{"", journal.Filter{Event: wire.EventFailed, Recipient: "ann@example.net"}},
		{"3", journal.Filter{Since: now.Add(-30 * time.Second)}},
		{"01", journal.Filter{Until: now.Add(-90 * time.Second)}},
		{"", journal.Filter{ID: "three"}},
	} {
		if got := names(t, c.f, l); got != c.want {
			t.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
	records, err := journal.New(b.Conn.Store()).Records(t.Context(), "one")
	if err != nil || len(records) != 3 || records[2].Generation != 3 {
		t.Errorf("records of one: %v %v", records, err)
	}
	if records, err = journal.New(b.Conn.Store()).Records(t.Context(), wire.Origin(now, 1)); err != nil || len(records) != 1 {
		t.Errorf("records by origin: %v %v", records, err)
	}
}

// TestFollow: what is there comes first, then what is written, also after the
// broker was started again.
func TestFollow(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal", "bulk")
	ctx, stop := context.WithCancel(t.Context())
	got := make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(got)
		for r, err := range journal.NewLog(b.Conn.JS()).Follow(ctx, journal.Filter{ID: "one", Lane: "normal"}) {
			if err != nil {
				t.Errorf("follow: %v", err)
				return
			}
			got <- fmt.Sprint(r.Generation)
		}
	}()
	next := func(want string) {
		t.Helper()
		select {
		case x := <-got:
			if x != want {
				t.Fatalf("came %s, want %s", x, want)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("in vain for %s", want)
		}
	}
	written(t, b, b.Conn.Now())
	next("0")
	next("3")
	b.Restart(t)
	l := wire.Key{Lane: "normal", ID: "one", Origin: wire.Origin(b.Conn.Now(), 9), Recipient: wire.All}
	r := &wire.Record{V: 1, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Recipient: l.Recipient, Generation: 9, Event: wire.EventDelivered, At: b.Conn.Now()}
	if _, err := journal.New(b.Conn.Store()).Set(t.Context(), r.Key(), r, 0, false); err != nil {
		t.Fatal(err)
	}
	next("9")
	stop()
	<-done
}

// TestTail: the last entries that match, whichever lane and recipient is asked for,
// and after them only what is new.
func TestTail(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal", "bulk")
	l := journal.NewLog(b.Conn.JS())
	now := b.Conn.Now()
	written(t, b, now)
	awaitEntries(t, b, "0123")
	for _, c := range []struct {
		f    journal.Filter
		n    int
		want string
	}{
		{journal.Filter{}, 2, "23"}, {journal.Filter{}, 9, "0123"}, {journal.Filter{}, 0, ""}, {journal.Filter{Lane: "normal"}, 2, "13"},
		{journal.Filter{Recipient: "ann@example.net"}, 1, "3"}, {journal.Filter{Event: wire.EventFailed}, 3, "12"},
		{journal.Filter{Since: now.Add(-30 * time.Second)}, 3, "3"}, {journal.Filter{ID: wire.Origin(now, 1)}, 1, "1"},
	} {
		got := ""
		for r, err := range l.Tail(t.Context(), c.f, c.n, false) {
			if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(r.Generation)
		}
		if got != c.want {
			t.Errorf("the last %d of %+v: %s, want %s", c.n, c.f, got, c.want)
		}
	}
	got := ""
	for r, err := range l.Tail(natstest.Within(t), journal.Filter{ID: "one"}, 1, true) {
		if err != nil {
			t.Fatal(err)
		}
		if got += fmt.Sprint(r.Generation); got == "39" {
			break
		}
		r := &wire.Record{V: 1, ID: "one", Origin: wire.Origin(now, 9), Lane: "normal", Recipient: wire.All, Generation: 9, Event: wire.EventDelivered, At: now}
		if _, err := journal.New(b.Conn.Store()).Set(t.Context(), r.Key(), r, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if got != "39" {
		t.Errorf("followed: %s, want 39", got)
	}
}

// TestTailOfMuch: the last match may be far from the end.
func TestTailOfMuch(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	j := journal.New(b.Conn.Store())
	now := b.Conn.Now()
	for i := range 1500 {
		r := &wire.Record{V: 1, ID: fmt.Sprint("m", i), Origin: wire.Origin(now, uint64(i)), Lane: "normal", Recipient: wire.All, Event: wire.EventDelivered, At: now}
		if i == 7 {
			r.Event = wire.EventFailed
		}
		if _, err := j.Set(t.Context(), r.Key(), r, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	testrun.Eventually(t, "the log has the last record", natstest.Timeout, func() bool {
		for r, err := range journal.NewLog(b.Conn.JS()).Tail(natstest.Within(t), journal.Filter{}, 1, false) {
			return err == nil && r.ID == "m1499"
		}
		return false
	})
	got := ""
	for r, err := range journal.NewLog(b.Conn.JS()).Tail(t.Context(), journal.Filter{Event: wire.EventFailed}, 1, false) {
		if err != nil {
			t.Fatal(err)
		}
		got += r.ID
	}
	if got != "m7" {
		t.Errorf("got %q, want m7", got)
	}
}

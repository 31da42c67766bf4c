package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestFindAcrossClocks: the enqueue time is by the clock of the lane's leader,
// the time of the entry in the log by that of another server. One that is a
// second behind must not hide the record.
func TestFindAcrossClocks(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j := journal.New(b.Conn.Store())
	at := time.Now().Add(time.Second) // the lane's leader is ahead
	l := keyAt("m", at, 1)
	if _, err := j.Set(t.Context(), l, recordAt(l, 0, at), 0, true); err != nil {
		t.Fatal(err)
	}
	awaitEntries(t, b, "0")
	found, err := j.Find(t.Context(), l, 0, at)
	if err != nil || found == nil {
		t.Errorf("find: %v, %v; the entry is in the log, and the mail would be sent again", found, err)
	}
}

// keyAt is the key of all recipients of a mail that was accepted then.
func keyAt(id string, at time.Time, seq uint64) wire.Key {
	return wire.Key{Lane: "normal", ID: id, Origin: wire.Origin(at, seq), Recipient: wire.All}
}

func recordAt(l wire.Key, generation int, at time.Time) *wire.Record {
	return &wire.Record{V: wire.RecordVersion, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Recipient: l.Recipient, Generation: generation, Event: wire.EventDeferred, At: at, Enqueued: at}
}

// awaitEntries waits until the log has the records of those generations.
func awaitEntries(t *testing.T, b *natstest.Broker, generations string) {
	t.Helper()
	log := journal.NewLog(b.Conn.JS())
	var held string
	testrun.Eventually(t, "the log holds "+generations, natstest.Timeout, func() bool {
		held = names(t, journal.Filter{}, log)
		return held == generations
	}, func() string { return "it holds " + held })
}

// TestFirstWriterWins: of two deliveries that record one key only the first one
// decides, and the other gets a conflict. A writer that tries again, because no
// answer came to its own record, gets no conflict with itself.
func TestFirstWriterWins(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j, now := journal.New(b.Conn.Store()), b.Conn.Now()
	for _, c := range []struct {
		name string
		// there are the generations of the records that are there, each set on the
		// one before; mine is set as the first of the key.
		there []int
		mine  int
		want  error
		// last is the generation that is there in the end.
		last int
	}{
		{"nobodys", nil, 1, nil, 1},
		{"ones-own", []int{1}, 1, nil, 1},
		{"anothers", []int{2}, 1, stream.ErrConflict, 2},
		{"anothers-on-ones-own", []int{1, 2}, 1, stream.ErrConflict, 2},
	} {
		l := keyAt(c.name, now, 1)
		var seq uint64
		for _, generation := range c.there {
			var err error
			if seq, err = j.Set(t.Context(), l, recordAt(l, generation, now), seq, false); err != nil {
				t.Fatal(err)
			}
		}
		got, err := j.Set(t.Context(), l, recordAt(l, c.mine, now), 0, false)
		if !errors.Is(err, c.want) || err == nil && len(c.there) > 0 && got != seq {
			t.Errorf("%s: set gives %d, %v; want %d, %v", c.name, got, err, seq, c.want)
		}
		last, at, err := j.Lookup(t.Context(), l)
		if err != nil || last == nil || last.Generation != c.last || len(c.there) > 0 && at != seq {
			t.Errorf("%s: the record is %+v at %d, %v; want generation %d", c.name, last, at, err, c.last)
		}
	}
}

// TestBriefRecordsExpire, and no others do: a record that may still be needed must
// not expire before its key is settled, and one that is not needed must not stay
// for days.
func TestBriefRecordsExpire(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j, now := journal.New(b.Conn.Store()), b.Conn.Now()
	for ttl, brief := range map[string]bool{journal.BriefTTL.String(): true, "": false} {
		l := keyAt("m", now, uint64(len(ttl)))
		if _, err := j.Set(t.Context(), l, recordAt(l, 0, now), 0, brief); err != nil {
			t.Fatal(err)
		}
		m, err := b.Conn.Store().Last(t.Context(), wire.StreamRecord, l.RecordSubject())
		if err != nil || m.Header.Get(jetstream.MsgTTLHeader) != ttl {
			t.Errorf("brief %v: the record is %+v, %v; want it to live %q", brief, m, err, ttl)
		}
	}
}

// TestFind: the log is searched for one key alone, and not for an earlier
// generation: else a copy that is still to be sent would be taken for settled, or
// what was settled would be sent again. It is the same if the id is not known.
func TestFind(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j, now := journal.New(b.Conn.Store()), b.Conn.Now()
	l, other := keyAt("m", now, 1), keyAt("m", now, 2)
	for _, r := range []*wire.Record{
		recordAt(l, 0, now), recordAt(l, 2, now), recordAt(l.For(0), 5, now), recordAt(other, 7, now),
	} {
		_, seq, err := j.Lookup(t.Context(), r.Key())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Set(t.Context(), r.Key(), r, seq, false); err != nil {
			t.Fatal(err)
		}
	}
	awaitEntries(t, b, "0257")
	unread := func(ctx context.Context, l wire.Key, generation int, enqueued time.Time) (*wire.Record, error) {
		l.ID = l.Origin
		l.ID = ""
		return j.Find(ctx, l, generation, enqueued)
	}
	const none = -1
	for _, c := range []struct {
		key              wire.Key
		generation, want int
	}{
		{l, 0, 2}, {l, 2, 2}, {l, 3, none},
		{l.For(0), 0, 5}, {l.For(0), 6, none}, {l.For(1), 0, none},
		{other, 0, 7}, {keyAt("m", now, 3), 0, none},
	} {
		for name, find := range map[string]func(context.Context, wire.Key, int, time.Time) (*wire.Record, error){"by key": j.Find, "by origin": unread} {
			found, err := find(t.Context(), c.key, c.generation, now)
			got := none
			if found != nil {
				got = found.Generation
			}
			if err != nil || got != c.want {
				t.Errorf("%s: %+v from generation %d on: generation %d, %v; want %d", name, c.key, c.generation, got, err, c.want)
			}
		}
	}
}

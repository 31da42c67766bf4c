package deadletter_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// raced is a store to which another one writes just before its first Set.
type raced struct {
	*stream.Store
	first *func()
}

func (r raced) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	if first := *r.first; first != nil {
		*r.first = nil
		first()
	}
	return r.Store.Set(ctx, m, filter, expected)
}

// deadAt is a dead letter of that key at that generation.
func deadAt(c wire.Copy, generation int) *wire.DeadLetter {
	c.Generation = generation
	return &wire.DeadLetter{Copy: c, Reason: mail.ReasonFailed, Body: []byte(`{"from":"a@example.com","to":["b@example.net"],"text":"hi"}`)}
}

// TestMark: a tombstone replaces a dead letter up to its own generation, also one
// that is only being buried. A newer dead letter is all there is of its mail, and
// is never replaced for the sake of an older one.
func TestMark(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	const none = -1
	for i, c := range []struct {
		name string
		// A dead letter of that generation is buried before, between and after the
		// reading and the writing of the tombstone at generation 3.
		before, between, after int
		want                   string
	}{
		{"its own dead letter", 3, none, none, "tombstone at 3"},
		{"an older dead letter", 1, none, none, "tombstone at 3"},
		{"a newer dead letter", 5, none, none, "dead letter at 5"},
		{"a newer dead letter comes between", 3, 5, none, "dead letter at 5"},
		{"its own dead letter comes between", none, 3, none, "tombstone at 3"},
		{"its own dead letter comes late", none, none, 3, "tombstone at 3"},
		{"a newer dead letter comes late", 3, none, 5, "dead letter at 5"},
	} {
		at := y.now()
		key := wire.Key{Lane: "normal", ID: "m", Origin: wire.Origin(at, uint64(i)), Recipient: wire.All}
		mark := wire.Copy{Key: key, Generation: 3, Enqueued: at}
		bury := func(generation int) {
			if generation == none {
				return
			}
			if _, err := y.Bury(t.Context(), deadAt(mark, generation)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		bury(c.before)
		between := func() { bury(c.between) }
		s := raced{y.store, &between}
		if err := deadletter.New(s, journal.New(s), y.now).Mark(t.Context(), mark, wire.EventReplayed); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		bury(c.after)
		l, kind := y.last(key), "dead letter"
		if l.Tombstone != "" {
			kind = "tombstone"
		}
		if got := fmt.Sprintf("%s at %d", kind, l.Generation); got != c.want || (kind == "dead letter") != (len(l.Body) > 0) {
			t.Errorf("%s: there is a %s with %d bytes, want a %s", c.name, got, len(l.Body), c.want)
		}
	}
}

// TestReadingEnds: what is buried while dead letters are read does not come up,
// be it another mail or the same one again: a replay of all that fails at once
// would have no end.
func TestReadingEnds(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.bury("one")
	y.bury("two")
	var got []string
	for l, err := range y.All(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l.Key.ID)
		if len(got) > 6 {
			break
		}
		if _, err := y.Bury(t.Context(), deadAt(l.Copy, l.Generation+2)); err != nil {
			t.Fatal(err)
		}
		y.bury(fmt.Sprintf("more%d", len(got)))
	}
	if fmt.Sprint(got) != "[one two]" {
		t.Errorf("read %v", got)
	}
}

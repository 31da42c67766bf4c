package queue_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// bury makes a dead letter of the id.
func (b *testQueue) bury(id string, reason mail.Reason) {
	b.t.Helper()
	key := keyOf(id)
	key.Origin = fmt.Sprintf("1700000000000000000-%d", 100+len(id))
	dead := deadletter.New(b.store, journal.New(b.store), b.broker.Conn.Now)
	_, err := dead.Bury(b.t.Context(), &wire.DeadLetter{
		Copy: wire.Copy{Key: key, Generation: 1, Enqueued: b.broker.Conn.Now()}, Reason: reason, Body: []byte(envelope(id)),
	})
	b.must(err)
}

// selected are the ids that the selection yields; those without a dead letter have
// a question mark.
func (b *testQueue) selected(s queue.Selection) (ids string) {
	b.t.Helper()
	for l, err := range b.Select(b.t.Context(), s) {
		if none, ok := errors.AsType[*queue.NoneError](err); ok {
			ids += none.ID + "? "
			continue
		}
		b.must(err)
		ids += l.Key.ID + " "
	}
	return ids
}

func TestSelect(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	b.bury("a", mail.ReasonFailed)
	b.bury("bb", mail.ReasonExhausted)
	b.bury("ccc", mail.ReasonFailed)
	for _, c := range []struct {
		selection queue.Selection
		want      string
	}{
		{queue.Selection{}, "a bb ccc "},
		{queue.Selection{Filter: deadletter.Filter{Reason: mail.ReasonFailed}}, "a ccc "},
		{queue.Selection{Filter: deadletter.Filter{Since: time.Now().Add(time.Hour)}}, ""},
		{queue.Selection{IDs: []string{"ccc", "nosuch", "1700000000000000000-101"}}, "ccc nosuch? a "},
	} {
		if got := b.selected(c.selection); got != c.want {
			t.Errorf("%+v: %q, want %q", c.selection, got, c.want)
		}
	}
	for range b.Select(t.Context(), queue.Selection{IDs: []string{"nosuch", "a"}}) {
		break // a caller may stop at any
	}
	if got := (&queue.NoneError{ID: "an id"}).Error(); got != "no dead letter matches 'an id'" {
		t.Error(got)
	}
}

// TestAct: what cannot be done any more is refused, which is no failure.
func TestAct(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	b.bury("a", mail.ReasonFailed)
	b.bury("bb", mail.ReasonFailed)
	found := map[string]*deadletter.Found{}
	for l, err := range b.Select(t.Context(), queue.Selection{}) {
		b.must(err)
		found[l.Key.ID] = l
	}
	for _, c := range []struct {
		name    string
		act     queue.Act
		id      string
		refused error
	}{
		{"replayed too often", b.Replay(0), "a", deadletter.ErrTooOften},
		{"replay", b.Replay(5), "a", nil},
		{"replay again, which changes nothing", b.Replay(5), "a", nil},
		{"discard what was replayed", b.Discard(), "a", deadletter.ErrReplaying},
		{"discard", b.Discard(), "bb", nil},
		{"discard again, which changes nothing", b.Discard(), "bb", nil},
		{"replay what was discarded", b.Replay(5), "bb", deadletter.ErrSettled},
	} {
		refused, err := c.act(t.Context(), found[c.id])
		if b.must(err); !errors.Is(refused, c.refused) {
			t.Errorf("%s: refused: %v, want %v", c.name, refused, c.refused)
		}
	}
	if got := b.selected(queue.Selection{}); got != "" {
		t.Errorf("left: %s", got)
	}
	if copies, err := b.Copies(t.Context(), "a"); err != nil || len(copies) != 1 {
		t.Errorf("%d copies of the replayed one, %v", len(copies), err)
	}
	b.bury("ccc", mail.ReasonFailed)
	for l := range b.Select(t.Context(), queue.Selection{IDs: []string{"ccc"}}) {
		b.broker.Conn.NC().Close()
		if refused, err := b.Discard()(t.Context(), l); refused != nil || !errors.Is(queue.Explain(err, ""), stream.ErrAway) {
			t.Errorf("without a broker: refused: %v, failed: %v", refused, err)
		}
	}
}

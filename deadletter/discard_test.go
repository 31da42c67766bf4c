package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

// yard is a broker with dead letters, and operators to act on them.
type yard struct {
	*deadletter.Queue
	t     *testing.T
	bench *bench.Bench
	store *stream.Store
	now   func() time.Time
}

func newYard(t *testing.T) *yard {
	t.Helper()
	b := natstest.Start(t)
	y := &yard{t: t, bench: bench.On(t, b.Connect), store: b.Conn.Store(), now: b.Conn.Now}
	y.Queue = deadletter.New(y.store, journal.New(y.store), y.now)
	return y
}

// dying is an operator that dies after so many writes.
func (y *yard) dying(writes int) *deadletter.Queue {
	return y.bench.Replayer(&bench.Death{At: "write", Nth: writes})
}

// bury buries a dead letter whose record says that it failed.
func (y *yard) bury(id string) *deadletter.Found {
	y.t.Helper()
	at := y.now()
	l := wire.Key{Lane: "normal", ID: id, Origin: wire.Origin(at, 7), Recipient: wire.All}
	rec := &wire.Record{
		V: 1, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Recipient: l.Recipient, Event: wire.EventFailed, At: at, Enqueued: at, Together: wire.StateDead,
		Recipients: []wire.RecipientRecord{{Address: "b@example.net", State: wire.StateDead, Reason: mail.ReasonFailed}},
	}
	if _, err := journal.New(y.store).Set(y.t.Context(), l, rec, 0, false); err != nil {
		y.t.Fatal(err)
	}
	_, err := y.Bury(y.t.Context(), &wire.DeadLetter{
		Copy: wire.Copy{Key: l, Generation: 1, Enqueued: at}, Reason: mail.ReasonFailed, Error: "550 5.1.1 no",
		Body: []byte(`{"from":"a@example.com","to":["b@example.net"],"text":"hi"}`),
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return y.only(id)
}

// found are the dead letters of that id.
func (y *yard) found(id string) []*deadletter.Found {
	y.t.Helper()
	var all []*deadletter.Found
	for l, err := range y.ByID(y.t.Context(), id) {
		if err != nil {
			y.t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func (y *yard) only(id string) *deadletter.Found {
	y.t.Helper()
	all := y.found(id)
	if len(all) != 1 || len(all[0].Body) == 0 {
		y.t.Fatalf("%d dead letters of %s, want one with a body", len(all), id)
	}
	return all[0]
}

// state says what is known of the dead letter: the record's event, whether there
// is a copy, and the tombstone.
func (y *yard) state(f *deadletter.Found) string {
	y.t.Helper()
	rec, _, err := journal.New(y.store).Lookup(y.t.Context(), f.Key)
	if err != nil {
		y.t.Fatal(err)
	}
	is := string(rec.Event)
	_, err = y.store.Last(y.t.Context(), f.Key.Lane.LaterStream(), f.Key.CopySubject(wire.CopyAny))
	switch {
	case err == nil:
		is += ", copy"
	case !errors.Is(err, stream.ErrNotFound):
		y.t.Fatal(err)
	}
	if l := y.last(f.Key); l.Tombstone != "" {
		return is + ", tombstone " + string(l.Tombstone)
	}
	return is + ", dead letter"
}

// last is the dead letter of that key, or its tombstone.
func (y *yard) last(l wire.Key) *wire.DeadLetter {
	y.t.Helper()
	m, err := y.store.Last(y.t.Context(), wire.StreamDead, l.DeadSubject())
	if err != nil {
		y.t.Fatal(err)
	}
	dead, err := wire.ParseDeadLetter(l.Lane, m.Header, m.Data)
	if err != nil {
		y.t.Fatal(err)
	}
	return dead
}

func (y *yard) want(f *deadletter.Found, want string) {
	y.t.Helper()
	if got := y.state(f); got != want {
		y.t.Errorf("%s: %s, want %s", f.Key, got, want)
	}
}

func (y *yard) check(err, want error) {
	y.t.Helper()
	if !errors.Is(err, want) {
		y.t.Errorf("error %v, want %v", err, want)
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	f := y.bury("m")
	y.check(y.Discard(t.Context(), f), nil)
	y.want(f, "discarded, tombstone discarded")
	if n := len(y.found("m")); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
	// Asked twice, by an operator who does not know of the first time.
	y.check(y.Discard(t.Context(), f), nil)
	y.check(y.Replay(t.Context(), f, 5), deadletter.ErrSettled)
	y.want(f, "discarded, tombstone discarded")
	rec, _, err := journal.New(y.store).Lookup(t.Context(), f.Key)
	if err != nil || rec.Recipients[0].State != wire.StateDead || rec.Together != "" || rec.Generation != f.Generation {
		t.Errorf("%+v %v", rec, err)
	}
}

// TestDiscardCutShort: a second call goes on where the first one stopped, and a
// replay in between is refused.
func TestDiscardCutShort(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	f := y.bury("before")
	y.check(y.dying(0).Discard(t.Context(), f), bench.ErrDead)
	y.want(f, "failed, dead letter")
	y.check(y.Discard(t.Context(), f), nil)
	y.want(f, "discarded, tombstone discarded")

	f = y.bury("recorded")
	y.check(y.dying(1).Discard(t.Context(), f), bench.ErrDead)
	y.want(f, "discarded, dead letter")
	y.check(y.Discard(t.Context(), y.only("recorded")), nil)
	y.want(f, "discarded, tombstone discarded")

	f = y.bury("then replayed")
	y.check(y.dying(1).Discard(t.Context(), f), bench.ErrDead)
	y.check(y.Replay(t.Context(), f, 5), deadletter.ErrSettled)
	y.want(f, "discarded, tombstone discarded")
}

// TestDiscardBesideReplay: a replay that has begun cannot be discarded, at
// whatever step it stopped.
func TestDiscardBesideReplay(t *testing.T) {
	t.Parallel()
	for writes, want := range map[int]string{1: "replayed, dead letter", 2: "replayed, copy, dead letter"} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			f := y.bury("m")
			y.check(y.dying(writes).Replay(t.Context(), f, 5), bench.ErrDead)
			y.want(f, want)
			y.check(y.Discard(t.Context(), y.only("m")), deadletter.ErrReplaying)
			y.want(f, want)
			y.check(y.Replay(t.Context(), y.only("m"), 5), nil)
			y.want(f, "replayed, copy, tombstone replayed")
			y.check(y.Discard(t.Context(), f), deadletter.ErrReplaying)
			y.want(f, "replayed, copy, tombstone replayed")
		})
	}
}

// TestDiscardCrossesReplay: of many operators at once exactly one decides.
func TestDiscardCrossesReplay(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	won := map[string]int{}
	for round := range 20 {
		f := y.bury(fmt.Sprintf("m%d", round))
		var operators sync.WaitGroup
		for n := range 4 {
			operators.Go(func() {
				act := y.Discard
				if (n+round)%2 == 0 {
					act = func(ctx context.Context, f *deadletter.Found) error { return y.Replay(ctx, f, 5) }
				}
				err := act(t.Context(), f)
				if err != nil && !errors.Is(err, deadletter.ErrSettled) && !errors.Is(err, deadletter.ErrReplaying) {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		operators.Wait()
		is := y.state(f)
		won[is]++
		if is != "discarded, tombstone discarded" && is != "replayed, copy, tombstone replayed" {
			t.Errorf("round %d: %s", round, is)
		}
	}
	t.Logf("%v", won)
}

// TestDeadLetterOfAKeyThatWaits: the record still says that its recipient waits,
// but the dead letter is all there is of the mail. It must not count as settled.
func TestDeadLetterOfAKeyThatWaits(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for _, id := range []string{"replayed", "discarded"} {
		f := y.bury(id)
		j := journal.New(y.store)
		rec, seq, err := j.Lookup(t.Context(), f.Key)
		if err != nil {
			t.Fatal(err)
		}
		rec.Together, rec.Event = wire.StateScheduled, wire.EventDeferred
		rec.Recipients[0].State, rec.Recipients[0].Reason = wire.StateScheduled, ""
		if _, err := j.Set(t.Context(), rec.Key(), rec, seq, false); err != nil {
			t.Fatal(err)
		}
	}
	f := y.only("replayed")
	y.check(y.Replay(t.Context(), f, 5), nil)
	if _, err := y.store.Last(t.Context(), f.Key.Lane.LaterStream(), f.Key.CopySubject(wire.CopyAny)); err != nil {
		t.Errorf("the replay's copy: %v", err)
	}
	d := y.only("discarded")
	y.check(y.Discard(t.Context(), d), nil)
	rec, _, err := journal.New(y.store).Lookup(t.Context(), d.Key)
	if err != nil || rec.Event != wire.EventDiscarded {
		t.Errorf("record of what was discarded: %+v, %v", rec, err)
	}
}

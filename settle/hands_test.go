package settle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestSecondHandAdds has two hands send one message: the second one's relay
// accepts what the first one's did not. What was accepted is neither sent
// again nor left dead, and nobody else is lost.
func TestSecondHandAdds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		to   []string
		// sent is how often each was accepted in the end, dead who lies dead.
		sent map[string]int
		dead []string
		// twice is how many are counted as accepted from both.
		twice float64
	}{
		{"failed alone, then accepted", []string{"550x1@a.example"}, map[string]int{"550x1@a.example": 1}, nil, 0},
		{"deferred alone, then accepted", []string{"450x1@a.example"}, map[string]int{"450x1@a.example": 1}, nil, 0},
		{
			"one of a whole dead letter", []string{"550x1@a.example", "551@b.example", "552@c.example"},
			map[string]int{"550x1@a.example": 1, "551@b.example": 0, "552@c.example": 0}, []string{"1", "2"}, 0,
		},
		{
			"one of a whole deferral", []string{"450x1@a.example", "450x3@b.example", "450x3@c.example"},
			map[string]int{"450x1@a.example": 1, "450x3@b.example": 1, "450x3@c.example": 1}, nil, 0,
		},
		{
			"singles", []string{"ann@a.example", "450x1@b.example", "550x1@c.example", "551@d.example"},
			// Ann's second acceptance is the double that two hands cost.
			map[string]int{"ann@a.example": 2, "450x1@b.example": 1, "550x1@c.example": 1, "551@d.example": 0}, []string{"3"}, 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			b.Publish("m", c.to...)
			slow := b.pullFresh(w)
			quick := twin(slow)
			quick.Handle = deaf{quick.Handle} // it dies before its ack
			nested := false
			b.Relay.Hold = func(mail.Message) {
				if nested {
					return
				}
				nested = true
				if err := w.settle(t.Context(), quick); err != nil && !errors.Is(err, settle.ErrLeft) {
					t.Errorf("the quick hand: %v", err)
				}
			}
			// The quick hand deletes the message when nobody answers its acks, so
			// the slow one is told by an answer in the way: it may find it gone.
			if err := w.settle(t.Context(), slow); err != nil && !errors.Is(err, settle.ErrLeft) {
				t.Errorf("the slow hand: %v", err)
			}
			b.Work(nil)
			b.Settled()
			b.Accepted("m", c.sent)
			if n := w.Counted(t, "accepted_twice_total"); n != c.twice {
				t.Errorf("%v counted as accepted twice, want %v", n, c.twice)
			}
			var dead []string
			for _, l := range b.Dead() {
				dead = append(dead, l.Key.Recipient)
			}
			if fmt.Sprint(dead) != fmt.Sprint(c.dead) {
				t.Errorf("dead letters of %v, want %v", dead, c.dead)
			}
		})
	}
}

// TestUnansweredAckEndsInDelete: a killed broker ignores acks above its
// rolled-back pointer; sessions that waited for it stood still.
func TestUnansweredAckEndsInDelete(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.Handle = deaf{h.Handle}
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if n := b.Queued(); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if err := w.Ack(t.Context(), h); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
}

// TestLapsedHandWhoseMessageIsGone neither sends, nor records, nor carries on.
func TestLapsedHandWhoseMessageIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "450x1@example.net")
	h := b.pullFresh(w)
	if err := w.Store.Delete(t.Context(), h.Stream, h.Sequence); err != nil {
		t.Fatal(err)
	}
	expire(h)
	if err := w.settle(t.Context(), h); !errors.Is(err, settle.ErrGone) && !errors.Is(err, settle.ErrLeft) {
		t.Errorf("got %v", err)
	}
	b.Accepted("m", map[string]int{"450x1@example.net": 0})
	if rec := b.record(h.Key()); rec != nil || b.Queued() != 0 {
		t.Errorf("record %+v, %d in the queue", rec, b.Queued())
	}
}

// unheard is a journal whose answer to a record is lost, with the hand's lease:
// another hand finds the record and settles the message.
type unheard struct {
	settle.Journal
	lapse func()
}

func (u unheard) Set(ctx context.Context, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if _, err := u.Journal.Set(ctx, r, expected, brief); err != nil {
		return 0, err
	}
	u.lapse()
	return 0, fmt.Errorf("%w: its answer was lost", stream.ErrAway)
}

// narrow is a journal with room for no attempts.
type narrow struct{ settle.Journal }

func (n narrow) Set(ctx context.Context, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if len(r.Attempts) > 0 {
		return 0, stream.ErrTooLarge
	}
	return n.Journal.Set(ctx, r, expected, brief)
}

// TestOwnRecordIsNoDouble: a hand that was stopped between its record and the
// answer to it finds its own record, shortened or not, and has sent nothing twice.
func TestOwnRecordIsNoDouble(t *testing.T) {
	t.Parallel()
	for name, journal := range map[string]func(settle.Journal) settle.Journal{
		"whole":     func(j settle.Journal) settle.Journal { return j },
		"shortened": func(j settle.Journal) settle.Journal { return narrow{j} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			b.Publish("m", "ann@example.net")
			h := b.pullFresh(w)
			w.Journal = journal(unheard{w.Journal, func() {
				if err := w.Store.Delete(t.Context(), h.Stream, h.Sequence); err != nil {
					t.Error(err)
				}
				expire(h)
			}})
			if err := w.settle(t.Context(), h); !errors.Is(err, settle.ErrLeft) {
				t.Errorf("got %v", err)
			}
			b.Accepted("m", map[string]int{"ann@example.net": 1})
			if n := w.Counted(t, "accepted_twice_total"); n != 0 {
				t.Errorf("%v counted as accepted twice", n)
			}
		})
	}
}

// TestLapsedInTransaction: the lease lapses while the relay is slow. The dot is
// not sent, nothing is handed back, and the message goes to another.
func TestLapsedInTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	b.Relay.Hold = func(mail.Message) { expire(h) }
	if err := w.settle(t.Context(), h); !errors.Is(err, settle.ErrLeft) {
		t.Errorf("got %v", err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 0})
	b.Relay.Hold = nil
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

// TestFirstDeliveryIsLookedAtToo: a killed broker forgets deliveries, so a
// message that comes for the first time may have been settled.
func TestFirstDeliveryIsLookedAtToo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "recorded"}
	stop := b.Work(d)
	b.Publish("m", "ann@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	b.Broker.Kill(t)
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

// TestLateRedelivery: a worker died between record and ack, and everything
// stood still until the record had expired. The log still knows.
func TestLateRedelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "recorded"}
	stop := b.Work(d)
	b.Publish("m", "ann@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	b.forgetRecords(b.keyOf("m"))
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"ann@example.net": 1})
}

// TestRecordAfterEachTransaction: of 200 recipients in four transactions those
// that are recorded are not sent to again.
func TestRecordAfterEachTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var to []string
	for i := range 200 {
		to = append(to, fmt.Sprintf("r%d@example.net", i))
	}
	d := &wb.Death{At: "recorded", Nth: 1}
	stop := b.Work(d)
	b.Publish("m", to...)
	b.Eventually("the worker dies", d.IsDead)
	stop()
	b.Work(nil)
	b.Settled()
	want := map[string]int{}
	for _, a := range to {
		want[a] = 1
	}
	b.Accepted("m", want)
}

// TestBriefRecords: only what answers for nothing any more is forgotten early. A
// replay answers for its dead letter, also where it is the first of its line because
// the earlier records have expired.
func TestBriefRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := b.Work(nil)
	b.Publish("replayed", "550x1@example.net")
	b.Eventually("the dead letter is dead", func() bool { return len(b.Dead()) == 1 })
	stop()
	if err := b.Graves.Replay(t.Context(), b.Dead()[0], 5); err != nil {
		t.Fatal(err)
	}
	b.forgetRecords(b.keyOf("replayed"))
	b.Work(nil)
	b.Publish("first", "ann@example.net")
	b.Publish("later", "451x1@example.net")
	b.Publish("mixed", "ann@example.net", "452x1@example.net")
	b.Publish("dead", "550@example.net")
	b.Settled()
	for id, want := range map[string]bool{"first": true, "later": false, "mixed": false, "dead": false, "replayed": false} {
		all := 0
		for seq := uint64(1); ; all++ {
			m, err := b.Store.Next(t.Context(), wire.StreamRecord, "mail.record.*."+id+".*.*", seq, time.Time{})
			if errors.Is(err, stream.ErrNotFound) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seq = m.Sequence + 1
			if brief := m.Header.Get("Nats-TTL") != ""; brief != want {
				t.Errorf("record %s of %s: brief %v, want %v", m.Subject, id, brief, want)
			}
		}
		if all == 0 {
			t.Errorf("%s has no record", id)
		}
	}
}

// TestDeadLettersAreNamedByLine: two recipients who fail at different attempts
// do not overwrite each other.
func TestDeadLettersAreNamedByLine(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.PublishWith("m", `,"max_attempts":3`, "ann@example.net", "450@example.net", "550@example.net")
	b.Settled()
	got := map[string]mail.Reason{}
	for _, l := range b.Dead() {
		got[l.Key.Recipient] = l.Reason
	}
	if len(got) != 2 || got["1"] != mail.ReasonExhausted || got["2"] != mail.ReasonFailed {
		t.Errorf("dead: %v", got)
	}
}

// TestParking: copies that count no attempt do not take each other's place.
func TestParking(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, 10*time.Millisecond
	b.Work(nil)
	b.Publish("m", "421x30@example.net")
	b.Settled()
	b.Accepted("m", map[string]int{"421x30@example.net": 1})
	rec := b.record(b.keyOf("m"))
	if rec.Counted != 1 || rec.Generation < 3 || len(b.Dead()) > 0 {
		t.Errorf("%d counted, hop %d, dead %v", rec.Counted, rec.Generation, b.Dead())
	}
}

// TestNoRoom: what there is no room for stays in flight, so that those who have
// the mail do not get it again; what was delivered is acked without a record,
// however long there is no room, and counted.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	const forGood = -1
	for _, c := range []struct {
		name, what, to string
		refusals       int
		unrecorded     float64
	}{
		{"copy", "mail.copy.", "450x1@b.example", 2, 0},
		{"record of what is to go on", "record", "450x1@b.example", 2, 0},
		{"record of what was delivered", "record", "bob@b.example", forGood, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			w.Log = discard()
			b.Refuse.Set(wb.Times(c.refusals, c.what, fmt.Errorf("%w: 10077", stream.ErrFull)))
			b.Publish("m", "ann@a.example", c.to)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := w.settle(ctx, b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			if n := w.Counted(t, "unrecorded_total"); n != c.unrecorded {
				t.Errorf("%v counted as acked without a record, want %v", n, c.unrecorded)
			}
			b.Refuse.Set(nil)
			if w.Consumer.Gate.Full() {
				t.Error("more is taken while there is no room")
			}
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"ann@a.example": 1, c.to: 1})
			if dead := b.Dead(); len(dead) > 0 {
				t.Errorf("dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

// TestNoRoomForAReplay: a replay that was delivered waits for room for its
// record. Without one the line would stay "replayed" for all who ask.
func TestNoRoomForAReplay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	w.Log = discard()
	b.Publish("m", "550x1@b.example")
	if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	l := b.Dead()[0]
	if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
		t.Fatal(err)
	}
	b.Refuse.Set(wb.Times(1, "record", stream.ErrFull))
	if err := w.settle(t.Context(), b.pullDue(w)); err != nil {
		t.Fatal(err)
	}
	if rec := b.record(l.Key); rec == nil || rec.Event != wire.EventDelivered || b.Queued() > 0 {
		t.Errorf("record %+v, %d in the queue", rec, b.Queued())
	}
	b.Accepted("m", map[string]int{"550x1@b.example": 1})
}

// TestNoRoomWhileStopping: a worker that is told to stop hands back what it has
// no room for.
func TestNoRoomWhileStopping(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	w.Log = discard()
	b.Refuse.Set(func(string) error { return stream.ErrFull })
	b.Publish("m", "450x1@b.example")
	close(w.stopping)
	if err := w.settle(t.Context(), b.pullFresh(w)); !errors.Is(err, stream.ErrFull) {
		t.Errorf("got %v", err)
	}
	b.Refuse.Set(nil)
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"450x1@b.example": 1})
}

// TestCopyTooLarge: a message that the broker does not take back with its
// history lies dead, and its replay arrives.
func TestCopyTooLarge(t *testing.T) {
	t.Parallel()
	for _, to := range [][]string{{"450x1@a.example"}, {"ann@a.example", "450x1@b.example"}, {"ann@a.example", "450x1@b.example", "451x1@c.example"}} {
		t.Run(fmt.Sprint(len(to)), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			b.Refuse.Set(wb.Times(2, "mail.copy.", fmt.Errorf("%w: 10054", stream.ErrTooLarge)))
			b.Publish("m", to...)
			if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			dead := b.Dead()
			if len(dead) != max(1, len(to)-1) || dead[0].Reason != mail.ReasonTooLarge {
				t.Fatalf("dead: %+v", dead)
			}
			if rec := b.record(dead[0].Key.Together()); rec == nil || rec.Has(wire.StateScheduled) {
				t.Errorf("the record does not say that they are dead: %+v", rec)
			}
			b.Refuse.Set(nil)
			for _, l := range dead {
				if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
					t.Fatal(err)
				}
			}
			b.Work(nil)
			b.Settled()
			for _, a := range to {
				b.Accepted("m", map[string]int{a: 1})
			}
		})
	}
}

// TestReplayBesideRedelivery: the dead letter is replayed and delivered before the
// original comes back, whose worker died between dead letter and ack.
func TestReplayBesideRedelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "forwarded"}
	stop := b.Work(d)
	b.Publish("m", "550x1@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	dead := b.Dead()
	if len(dead) != 1 {
		t.Fatalf("dead letters: %v", dead)
	}
	for range 3 {
		if err := b.Graves.Replay(t.Context(), dead[0], 5); err != nil && !errors.Is(err, deadletter.ErrSettled) {
			t.Fatal(err)
		}
	}
	b.Work(nil)
	b.Settled()
	b.Accepted("m", map[string]int{"550x1@example.net": 1})
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead again: %+v", dead[0].DeadLetter)
	}
}

// TestReplayerDies at each point of its way. The dead letter goes out once, whether
// somebody asks again or, from the copy on, nobody does.
func TestReplayerDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at    string
		again bool
	}{{"record", true}, {"recorded", true}, {"forwarded", true}, {"forwarded", false}} {
		t.Run(fmt.Sprintf("%s, again %v", c.at, c.again), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stop := b.Work(nil)
			b.Publish("m", "550x1@example.net")
			b.Eventually("the dead letter is dead", func() bool { return len(b.Dead()) == 1 })
			stop()
			l := b.Dead()[0]
			d := &wb.Death{At: c.at}
			if err := b.Replayer(d).Replay(t.Context(), l, 5); err == nil || !d.IsDead() {
				t.Fatalf("the replayer lives: %v", err)
			}
			if c.again {
				if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
					t.Fatal(err)
				}
			}
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"550x1@example.net": 1})
			if dead := b.Dead(); len(dead) > 0 {
				t.Errorf("it still lies dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

func TestReplayFailsAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	b.Publish("m", "ann@example.net", "550@example.net")
	for round := 1; round <= 5; round++ {
		b.Eventually("the dead letter is dead", func() bool { d := b.Dead(); return len(d) == 1 && d[0].Replays == round-1 })
		if err := b.Graves.Replay(t.Context(), b.Dead()[0], 5); err != nil {
			t.Fatal(err)
		}
	}
	b.Eventually("the dead letter is dead", func() bool { d := b.Dead(); return len(d) == 1 && d[0].Replays == 5 })
	l := b.Dead()[0]
	if err := b.Graves.Replay(t.Context(), l, 5); !errors.Is(err, deadletter.ErrTooOften) {
		t.Errorf("the sixth replay: %v", err)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 1})
	if len(l.Log) != 6 || l.Attempts != 1 {
		t.Errorf("%d attempts in the log, %d counted since the last replay", len(l.Log), l.Attempts)
	}
}

// TestReplayWhileScheduled: a dead letter is replayed while an earlier copy of the
// same line still waits. That copy is the replay.
func TestReplayWhileScheduled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.RetryAfter = []time.Duration{time.Second}
	b.Work(nil)
	b.Publish("m", "550x1@example.net")
	b.Eventually("the dead letter is dead", func() bool { return len(b.Dead()) == 1 })
	l := b.Dead()[0]
	b.Relay.SetDown(true) // so that the copy stays where it is
	for range 5 {
		err := b.Graves.Replay(t.Context(), l, 5)
		if err != nil && !errors.Is(err, deadletter.ErrSettled) {
			t.Fatal(err)
		}
	}
	if n := b.Queued(); n != 1 {
		t.Errorf("%d copies, want 1", n)
	}
	b.Relay.SetDown(false)
	b.Settled()
	b.Accepted("m", map[string]int{"550x1@example.net": 1})
}

// TestCrashLoop: what was delivered 16 times without a record is buried unread.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonCrashLoop || string(dead[0].Body) != string(h.Body) {
		t.Errorf("dead letters: %+v", dead)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 0})
}

// TestCrashLoopWithARecord: the message was delivered; its worker died 16 times
// before the ack. It is not to lie dead.
func TestCrashLoopWithARecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "recorded"}
	stop := b.Work(d)
	b.Publish("the id in the body", "ann@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	w := b.idle()
	h := b.pullFresh(w)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if dead := b.Dead(); len(dead) > 0 || b.Queued() > 0 {
		t.Errorf("dead letters: %+v, %d in the queue", dead, b.Queued())
	}
}

// TestEarlierHop: a message whose line has come further, in a copy or a dead letter,
// was settled before and brought back. It is acked, however often it was
// delivered: it is neither sent nor buried, and the record stays as it is.
func TestEarlierHop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	for _, state := range []wire.State{wire.StateScheduled, wire.StateDead} {
		for _, delivered := range []int{1, 2, settle.CrashLoop} {
			id := fmt.Sprintf("%s-%d", state, delivered)
			b.Publish(id, "ann@example.net")
			h := b.pullFresh(w)
			h.Times = delivered
			read := twin(h)
			if err := read.Read(); err != nil {
				t.Fatal(err)
			}
			further := read.Draft(time.Now())
			further.Generation = 1
			settle.SetPending(further, state, "")
			settle.Conclude(further)
			if _, err := w.Journal.Set(t.Context(), further, 0, false); err != nil {
				t.Fatal(err)
			}
			if err := w.settle(t.Context(), h); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			b.Accepted(id, map[string]int{"ann@example.net": 0})
			if rec, _, err := w.Journal.Lookup(t.Context(), read.Key()); err != nil || rec.Generation != 1 || !rec.Has(state) {
				t.Errorf("%s: its line's record has become %+v, %v", id, rec, err)
			}
		}
	}
	if n, dead := b.Queued(), b.Dead(); n > 0 || len(dead) > 0 {
		t.Errorf("%d in the queue, %d dead letters", n, len(dead))
	}
}

// TestSweep finds a message that has run out of deliveries, and one that was
// settled and brought back.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("stranded", "ann@example.net")
	b.exhaust(w)
	h, _ := b.ghost(w, false)
	_ = h.Handle.Requeue(0)
	b.exhaust(w)
	b.Work(nil)
	b.Settled()
	b.Accepted("ghost", map[string]int{"bob@example.net": 0})
	b.Accepted("stranded", map[string]int{"ann@example.net": 0})
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Key.ID != "stranded" || dead[0].Reason != mail.ReasonStranded {
		t.Errorf("dead letters: %+v", dead)
	}
}

// ghost publishes a mail and records on its line that it was delivered. The hand
// that it gives has read nothing of that.
func (b *bench) ghost(w *worker, brief bool) (*settle.Delivery, wire.Key) {
	b.T.Helper()
	b.Publish("ghost", "bob@example.net")
	h := b.pullFresh(w)
	read := twin(h)
	if err := read.Read(); err != nil {
		b.T.Fatal(err)
	}
	if _, err := w.Journal.Set(b.T.Context(), ghostRecord(read), 0, brief); err != nil {
		b.T.Fatal(err)
	}
	return h, read.Key()
}

func ghostRecord(h *settle.Delivery) *wire.Record {
	rec := h.Draft(time.Now())
	settle.SetPending(rec, wire.StateDelivered, "")
	settle.Conclude(rec)
	return rec
}

// exhaust uses up the deliveries of the next message.
func (b *bench) exhaust(c *worker) {
	b.T.Helper()
	for {
		q, err := c.Consumer.Durable(b.T.Context(), lane.SendStream(), wire.ConsumerFresh)
		if err != nil {
			b.T.Fatal(err)
		}
		m, err := q.Next(jetstream.FetchMaxWait(300 * time.Millisecond))
		if err != nil {
			return
		}
		if err := m.Nak(); err != nil {
			b.T.Fatal(err)
		}
	}
}

// TestGhostWithoutARecord: a killed broker brings back what was settled so long
// ago that its record has expired. The log still knows, and it is neither sent
// nor buried.
func TestGhostWithoutARecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	h, l := b.ghost(w, true)
	b.forgetRecords(l)
	_ = h.Handle.Requeue(0)
	b.exhaust(w)
	b.Work(nil)
	b.Settled()
	b.Accepted("ghost", map[string]int{"bob@example.net": 0})
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead[0].DeadLetter)
	}
}

// TestGhostThatIsNotRead: the same for one that was delivered so often that
// nobody reads it, and so nobody knows its id.
func TestGhostThatIsNotRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	h, l := b.ghost(w, true)
	b.forgetRecords(l)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	b.Settled()
	if dead := b.Dead(); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead[0].DeadLetter)
	}
}

// forgetRecords lets all records expire once the log has that line's.
func (b *bench) forgetRecords(l wire.Key) {
	b.T.Helper()
	b.Eventually("the log has the entry", func() bool {
		_, err := b.Store.Last(b.T.Context(), wire.StreamEvent, l.EventSubject())
		return err == nil
	})
	s, err := b.Conn.JS().Stream(b.T.Context(), wire.StreamRecord)
	if err != nil {
		b.T.Fatal(err)
	}
	if err := s.Purge(b.T.Context()); err != nil {
		b.T.Fatal(err)
	}
}

// TestLargestBodyToThree: deferred, buried and replayed, whole each time.
func TestLargestBodyToThree(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	text := strings.Repeat(" ", 8<<20-65<<10-512) // JSON may hold it, and the mail stays small
	id := strings.Repeat("i", 200)
	b.PublishWith(id, `,"max_attempts":2`+text, "ann@example.net", "450@example.net", "550x1@example.net")
	b.Eventually("two are dead", func() bool { return b.Queued() == 0 && len(b.Dead()) == 2 })
	for _, l := range b.Dead() {
		if len(l.Body) < len(text) {
			t.Errorf("the dead letter of %s has %d bytes", l.Key, len(l.Body))
		}
		if err := b.Graves.Replay(t.Context(), l, 5); err != nil {
			t.Fatal(err)
		}
	}
	b.Settled()
	b.Accepted(id, map[string]int{"ann@example.net": 1, "550x1@example.net": 1})
}

// TestSendAt: a mail for later goes out then, and not before.
func TestSendAt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	due := b.Conn.Now().Add(1500 * time.Millisecond)
	var sent time.Time
	b.Relay.Hold = func(mail.Message) { sent = b.Conn.Now() }
	b.PublishWith("m", fmt.Sprintf(`,"send_at":%q`, due.Format(time.RFC3339Nano)), "ann@example.net")
	b.PublishWith("expired", fmt.Sprintf(`,"expires_at":%q`, due.Add(-time.Hour).Format(time.RFC3339Nano)), "ann@example.net")
	b.Settled()
	if late := sent.Sub(due); late < 0 || late > time.Second {
		t.Errorf("sent %s after it was due", late)
	}
	if dead := b.Dead(); len(dead) != 1 || dead[0].Reason != mail.ReasonExpired {
		t.Errorf("dead letters: %+v", dead)
	}
}

// TestGoneHandKeepsTheOthersDead: a second hand whose message is gone adds what
// it had accepted to a whole dead letter of two. The other one has to lie dead, by
// itself: nobody comes after this hand who would bury it.
func TestGoneHandKeepsTheOthersDead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net", "bob@example.net")
	h := b.pullFresh(w)
	second := twin(h)
	for _, x := range []*settle.Delivery{h, second} {
		if err := x.Read(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Lookup(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	dead := h.Draft(time.Now())
	settle.SetPending(dead, wire.StateDead, mail.ReasonFailed)
	settle.Conclude(dead)
	if err := w.Record(t.Context(), h, dead); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(t.Context(), h, dead, false); err != nil {
		t.Fatal(err)
	}
	expire(second)
	mine := second.Draft(time.Now())
	mine.Recipients[0].State = wire.StateDelivered
	mine.Recipients[1].State, mine.Recipients[1].Reason = wire.StateDead, mail.ReasonFailed
	mine.Attempts = []wire.Attempt{{N: 1, Session: "two", At: time.Now()}}
	settle.Conclude(mine)
	if err := w.Record(t.Context(), second, mine); err == nil {
		t.Fatal("recorded, though its message is gone")
	}
	if dead := b.Dead(); len(dead) != 1 || dead[0].Key.Recipient != "1" {
		t.Errorf("dead letters: %v", dead)
	}
}

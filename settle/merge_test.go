package settle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestSecondDeliveryMerges has two deliveries of one message: the second one's
// relay accepts what the first one's did not. What was accepted is neither sent
// again nor left dead, and nobody else is lost.
func TestSecondDeliveryMerges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		to   []string
		// sent is how often each was accepted in the end, dead who is dead-lettered.
		sent map[string]int
		dead []string
		// twice is how many are counted as accepted from both.
		twice float64
	}{
		{"failed alone, then accepted", []string{"550x1@a.example"}, map[string]int{"550x1@a.example": 1}, nil, 0},
		{"deferred alone, then accepted", []string{"450x1@a.example"}, map[string]int{"450x1@a.example": 1}, nil, 0},
		{
			"one of a dead letter of all", []string{"550x1@a.example", "551@b.example", "552@c.example"},
			map[string]int{"550x1@a.example": 1, "551@b.example": 0, "552@c.example": 0}, []string{"1", "2"}, 0,
		},
		{
			"one of a deferral of all", []string{"450x1@a.example", "450x3@b.example", "450x3@c.example"},
			map[string]int{"450x1@a.example": 1, "450x3@b.example": 1, "450x3@c.example": 1}, nil, 0,
		},
		{
			"split", []string{"ann@a.example", "450x1@b.example", "550x1@c.example", "551@d.example"},
			// Ann's second acceptance is the double that two deliveries cost.
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
					t.Errorf("the quick delivery: %v", err)
				}
			}
			// The quick delivery deletes the message because its acks get no answer, so
			// the slow one may find it gone.
			if err := w.settle(t.Context(), slow); err != nil && !errors.Is(err, settle.ErrLeft) {
				t.Errorf("the slow delivery: %v", err)
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

// unheard is a journal whose answer to a record is lost, and the lease with it:
// another delivery finds the record and settles the message.
type unheard struct {
	settle.Journal
	expire func()
}

func (u unheard) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if _, err := u.Journal.Set(ctx, k, r, expected, brief); err != nil {
		return 0, err
	}
	u.expire()
	return 0, fmt.Errorf("%w: its answer was lost", stream.ErrAway)
}

// narrow is a journal with room for no attempts.
type narrow struct{ settle.Journal }

func (n narrow) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if len(r.Attempts) > 0 {
		return 0, stream.ErrTooLarge
	}
	return n.Journal.Set(ctx, k, r, expected, brief)
}

// TestOwnRecordIsNoDouble: a delivery that was stopped between its record and the
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

// TestMergeKeepsTheOthersDead: a second delivery whose message is gone merges what
// the relay accepted from it into a dead letter of two recipients. The other one gets
// a dead letter of its own: no later delivery would bury it.
func TestMergeKeepsTheOthersDead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net", "bob@example.net")
	h := b.pullFresh(w)
	second := twin(h)
	for _, x := range []*settle.Delivery{h, second} {
		x.Read()
		if _, err := w.Lookup(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	dead := h.Draft(time.Now())
	dead.SetPending(wire.StateDead, mail.ReasonFailed)
	dead.Conclude()
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
	mine.Conclude()
	if err := w.Record(t.Context(), second, mine); err == nil {
		t.Fatal("recorded, though its message is gone")
	}
	if dead := b.Dead(); len(dead) != 1 || dead[0].Key.Recipient != "1" {
		t.Errorf("dead letters: %v", dead)
	}
}

package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// These tests hold one message in two hands, or in one that should have let
// go. Hands are made by pulling, so that each moment is the test's to choose.

// pull takes the next message of a consumer.
func (b *bench) pull(c *Consumer, stream, name string) *delivery {
	b.t.Helper()
	q, err := c.Durable(b.t.Context(), stream, name)
	if err != nil {
		b.t.Fatal(err)
	}
	m, err := q.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		b.t.Fatal(err)
	}
	l := c.leases.hold(m)
	b.t.Cleanup(l.release)
	meta, err := m.Metadata()
	if err != nil {
		b.t.Fatal(err)
	}
	return &delivery{
		stream: meta.Stream, subject: m.Subject(), seq: meta.Sequence.Stream, stored: meta.Timestamp,
		header: m.Headers(), body: m.Data(), delivered: int(meta.NumDelivered), msg: m, lease: l,
	}
}

func (b *bench) pullFresh(c *Consumer) *delivery {
	b.t.Helper()
	return b.pull(c, lane.SendStream(), wire.ConsumerFresh)
}

// idle is a worker that takes nothing by itself. Its leases are long: these
// tests are not about time.
func (b *bench) idle() *Consumer {
	cfg := b.cfg
	cfg.AckWait = time.Hour
	return New(cfg, b.parts0())
}

// twin is a second hand on the same delivery.
func twin(h *delivery) *delivery {
	t := *h
	return &t
}

func (b *bench) record(l wire.Key) *wire.Record {
	b.t.Helper()
	rec, _, err := b.parts0().Journal.Lookup(b.t.Context(), l)
	if err != nil {
		b.t.Fatal(err)
	}
	return rec
}

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
			"one of a whole letter", []string{"550x1@a.example", "551@b.example", "552@c.example"},
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
			b.publish("m", c.to...)
			slow := b.pullFresh(w)
			quick := twin(slow)
			quick.msg = deaf{quick.msg} // it dies before its ack
			nested := false
			b.books.hold = func(mail.Message) {
				if nested {
					return
				}
				nested = true
				if err := w.settle(t.Context(), t.Context(), lane, quick); err != nil && !errors.Is(err, errLeft) {
					t.Errorf("the quick hand: %v", err)
				}
			}
			// The quick hand deletes the message when nobody answers its acks, so
			// the slow one is told by an answer in the way: it may find it gone.
			if err := w.settle(t.Context(), t.Context(), lane, slow); err != nil && !errors.Is(err, errLeft) {
				t.Errorf("the slow hand: %v", err)
			}
			b.work(nil)
			b.settled()
			b.accepted("m", c.sent)
			if n := counted(t, w.metrics.twice); n != c.twice {
				t.Errorf("%v counted as accepted twice, want %v", n, c.twice)
			}
			var dead []string
			for _, l := range b.dead() {
				dead = append(dead, l.Key.Recipient)
			}
			if fmt.Sprint(dead) != fmt.Sprint(c.dead) {
				t.Errorf("dead letters of %v, want %v", dead, c.dead)
			}
		})
	}
}

// counted is the value of a counter.
func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return all[0].GetMetric()[0].GetCounter().GetValue()
}

// deaf is a message whose acks get no answer.
type deaf struct{ settler }

func (deaf) DoubleAck(context.Context) error { return nats.ErrNoResponders }

// TestUnansweredAckEndsInDelete: a killed broker ignores acks above its
// rolled-back pointer; sessions that waited for it stood still.
func TestUnansweredAckEndsInDelete(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.msg = deaf{h.msg}
	if err := w.settle(t.Context(), t.Context(), lane, h); err != nil {
		t.Fatal(err)
	}
	if n := b.queued(); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if err := w.ack(t.Context(), h); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
}

// TestLapsedHandWhoseMessageIsGone neither sends, nor records, nor carries on.
func TestLapsedHandWhoseMessageIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.publish("m", "450x1@example.net")
	h := b.pullFresh(w)
	if err := w.Store.Delete(t.Context(), h.stream, h.seq); err != nil {
		t.Fatal(err)
	}
	h.lease.renewed = time.Now().Add(-2 * time.Hour)
	if err := w.settle(t.Context(), t.Context(), lane, h); !errors.Is(err, errGone) && !errors.Is(err, errLeft) {
		t.Errorf("got %v", err)
	}
	b.accepted("m", map[string]int{"450x1@example.net": 0})
	if rec := b.record(h.own.Key); rec != nil || b.queued() != 0 {
		t.Errorf("record %+v, %d in the queue", rec, b.queued())
	}
}

// unheard is a journal whose answer to a record is lost, with the hand's lease:
// another hand finds the record and settles the message.
type unheard struct {
	Journal
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
type narrow struct{ Journal }

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
	for name, journal := range map[string]func(Journal) Journal{
		"whole":     func(j Journal) Journal { return j },
		"shortened": func(j Journal) Journal { return narrow{j} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.idle()
			b.publish("m", "ann@example.net")
			h := b.pullFresh(w)
			w.Journal = journal(unheard{w.Journal, func() {
				if err := w.Store.Delete(t.Context(), h.stream, h.seq); err != nil {
					t.Error(err)
				}
				h.lease.renewed = time.Now().Add(-2 * time.Hour)
			}})
			if err := w.settle(t.Context(), t.Context(), lane, h); !errors.Is(err, errLeft) {
				t.Errorf("got %v", err)
			}
			b.accepted("m", map[string]int{"ann@example.net": 1})
			if n := counted(t, w.metrics.twice); n != 0 {
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
	b.publish("m", "ann@example.net")
	h := b.pullFresh(w)
	b.books.hold = func(mail.Message) { h.lease.renewed = time.Now().Add(-2 * time.Hour) }
	if err := w.settle(t.Context(), t.Context(), lane, h); !errors.Is(err, errLeft) {
		t.Errorf("got %v", err)
	}
	b.accepted("m", map[string]int{"ann@example.net": 0})
	b.books.hold = nil
	b.work(nil)
	b.settled()
	b.accepted("m", map[string]int{"ann@example.net": 1})
}

func TestLease(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.publish("m", "ann@example.net")
	h := b.pullFresh(w)
	now := time.Now()
	for _, c := range []struct {
		name   string
		change func(l *lease)
		want   bool
	}{
		{"fresh", func(*lease) {}, false},
		{"renewed 29 minutes ago", func(l *lease) { l.renewed = now.Add(-29 * time.Minute) }, false},
		{"renewed 31 minutes ago", func(l *lease) { l.renewed = now.Add(-31 * time.Minute) }, true},
		{"the wall clock went further", func(l *lease) { l.renewed = now.Round(0).Add(-31 * time.Minute) }, true},
		{"disconnected meanwhile", func(l *lease) { l.epoch-- }, true},
		{"the process stood still", func(l *lease) { l.set.pulse = now.Add(-16 * time.Minute) }, true},
		{"it stood still a second before the message was read", func(l *lease) { l.set.stood = now.Add(-time.Second) }, true},
		{"it stood still long before", func(l *lease) { l.set.stood = now.Add(-2 * time.Second) }, false},
	} {
		l := &lease{set: newLeases(nil, w.Link, time.Hour), msg: h.msg, epoch: w.Link.Epoch(), renewed: now}
		c.change(l)
		if got := l.expired(); got != c.want {
			t.Errorf("%s: lapsed %v, want %v", c.name, got, c.want)
		}
	}
}

// TestFirstDeliveryIsLookedAtToo: a killed broker forgets deliveries, so a
// message that comes for the first time may have been settled.
func TestFirstDeliveryIsLookedAtToo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &death{at: "recorded"}
	stop := b.work(d)
	b.publish("m", "ann@example.net")
	b.eventually("the worker dies", d.isDead)
	stop()
	b.broker.Kill(t)
	b.work(nil)
	b.settled()
	b.accepted("m", map[string]int{"ann@example.net": 1})
}

// TestLateRedelivery: a worker died between record and ack, and everything
// stood still until the record had expired. The log still knows.
func TestLateRedelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &death{at: "recorded"}
	stop := b.work(d)
	b.publish("m", "ann@example.net")
	b.eventually("the worker dies", d.isDead)
	stop()
	b.forgetRecords(b.lineOf("m"))
	b.work(nil)
	b.settled()
	b.accepted("m", map[string]int{"ann@example.net": 1})
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
	d := &death{at: "recorded", nth: 1}
	stop := b.work(d)
	b.publish("m", to...)
	b.eventually("the worker dies", d.isDead)
	stop()
	b.work(nil)
	b.settled()
	want := map[string]int{}
	for _, a := range to {
		want[a] = 1
	}
	b.accepted("m", want)
}

// TestBriefRecords: only what answers for nothing any more is forgotten early. A
// replay answers for its letter, also where it is the first of its line because
// the earlier records have expired.
func TestBriefRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := b.work(nil)
	b.publish("replayed", "550x1@example.net")
	b.eventually("the letter is dead", func() bool { return len(b.dead()) == 1 })
	stop()
	if err := b.yard.Replay(t.Context(), b.dead()[0], 5); err != nil {
		t.Fatal(err)
	}
	b.forgetRecords(b.lineOf("replayed"))
	b.work(nil)
	b.publish("first", "ann@example.net")
	b.publish("later", "451x1@example.net")
	b.publish("mixed", "ann@example.net", "452x1@example.net")
	b.publish("dead", "550@example.net")
	b.settled()
	for id, want := range map[string]bool{"first": true, "later": false, "mixed": false, "dead": false, "replayed": false} {
		all := 0
		for seq := uint64(1); ; all++ {
			m, err := b.store.Next(t.Context(), wire.StreamRecord, "mail.record.*."+id+".*.*", seq, time.Time{})
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
	b.work(nil)
	b.publishWith("m", `,"max_attempts":3`, "ann@example.net", "450@example.net", "550@example.net")
	b.settled()
	got := map[string]mail.Reason{}
	for _, l := range b.dead() {
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
	b.cfg.PauseMin, b.cfg.PauseMax = time.Millisecond, 10*time.Millisecond
	b.work(nil)
	b.publish("m", "421x30@example.net")
	b.settled()
	b.accepted("m", map[string]int{"421x30@example.net": 1})
	rec := b.record(b.lineOf("m"))
	if rec.Counted != 1 || rec.Generation < 3 || len(b.dead()) > 0 {
		t.Errorf("%d counted, hop %d, dead %v", rec.Counted, rec.Generation, b.dead())
	}
}

// TestHandedBackOften: a relay that comes and goes and workers that are
// replaced make many deliveries of one message. That is no crash loop.
func TestHandedBackOften(t *testing.T) {
	t.Parallel()
	for name, stopping := range map[string]bool{"relay down": false, "worker stopping": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.publish("m", "ann@example.net")
			b.setDown(true)
			w := b.idle()
			taking, stop := context.WithCancel(t.Context())
			if stopping {
				stop()
			}
			defer stop()
			for range crashLoop + 2 {
				if !b.handBack(taking, w) {
					break
				}
			}
			b.setDown(false)
			b.work(nil)
			b.settled()
			b.accepted("m", map[string]int{"ann@example.net": 1})
			if dead := b.dead(); len(dead) > 0 {
				t.Errorf("dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

// handBack takes the next fresh message and has w hand it back; false where
// there is none any more.
func (b *bench) handBack(taking context.Context, w *Consumer) bool {
	b.t.Helper()
	p, err := newPuller(w.NATS, w.leases, lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		b.t.Fatal(err)
	}
	x, err := p.next(b.t.Context(), time.Second)
	if errors.Is(err, errNoMessage) {
		p.stop()
		return false // it stands in a schedule
	}
	if err != nil {
		b.t.Fatal(err)
	}
	s := &source{lane: lane, stream: lane.SendStream(), name: wire.ConsumerFresh, fresh: true}
	w.handle(taking, b.t.Context(), b.t.Context(), s, taken{arrival: x})
	p.stop()
	return true
}

// TestNoRoom: what there is no room for stays in hand, so that those who have
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
			w.log = newDiscard()
			b.refuse.set(times(c.refusals, c.what, fmt.Errorf("%w: 10077", stream.ErrFull)))
			b.publish("m", "ann@a.example", c.to)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := w.settle(ctx, ctx, lane, b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			if n := counted(t, w.metrics.unrecorded); n != c.unrecorded {
				t.Errorf("%v counted as acked without a record, want %v", n, c.unrecorded)
			}
			b.refuse.set(nil)
			if w.gate.closedFor() <= 0 {
				t.Error("more is taken while there is no room")
			}
			b.work(nil)
			b.settled()
			b.accepted("m", map[string]int{"ann@a.example": 1, c.to: 1})
			if dead := b.dead(); len(dead) > 0 {
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
	w.log = newDiscard()
	b.publish("m", "550x1@b.example")
	if err := w.settle(t.Context(), t.Context(), lane, b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	l := b.dead()[0]
	if err := b.yard.Replay(t.Context(), l, 5); err != nil {
		t.Fatal(err)
	}
	b.refuse.set(times(1, "record", stream.ErrFull))
	if err := w.settle(t.Context(), t.Context(), lane, b.pull(w, lane.LaterStream(), wire.ConsumerDue)); err != nil {
		t.Fatal(err)
	}
	if rec := b.record(l.Key); rec == nil || rec.Event != wire.EventDelivered || b.queued() > 0 {
		t.Errorf("record %+v, %d in the queue", rec, b.queued())
	}
	b.accepted("m", map[string]int{"550x1@b.example": 1})
}

// TestNoRoomWhileStopping: a worker that is told to stop hands back what it has
// no room for.
func TestNoRoomWhileStopping(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	w.log = newDiscard()
	b.refuse.set(func(string) error { return stream.ErrFull })
	b.publish("m", "450x1@b.example")
	taking, stop := context.WithCancel(t.Context())
	w.gate.stopping = taking.Done()
	stop()
	if err := w.settle(t.Context(), t.Context(), lane, b.pullFresh(w)); !errors.Is(err, stream.ErrFull) {
		t.Errorf("got %v", err)
	}
	b.refuse.set(nil)
	b.work(nil)
	b.settled()
	b.accepted("m", map[string]int{"450x1@b.example": 1})
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
			b.refuse.set(times(2, "mail.copy.", fmt.Errorf("%w: 10054", stream.ErrTooLarge)))
			b.publish("m", to...)
			if err := w.settle(t.Context(), t.Context(), lane, b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			dead := b.dead()
			if len(dead) != max(1, len(to)-1) || dead[0].Reason != mail.ReasonTooLarge {
				t.Fatalf("dead: %+v", dead)
			}
			if rec := b.record(dead[0].Key.Together()); rec == nil || rec.Has(wire.StateScheduled) {
				t.Errorf("the record does not say that they are dead: %+v", rec)
			}
			b.refuse.set(nil)
			for _, l := range dead {
				if err := b.yard.Replay(t.Context(), l, 5); err != nil {
					t.Fatal(err)
				}
			}
			b.work(nil)
			b.settled()
			for _, a := range to {
				b.accepted("m", map[string]int{a: 1})
			}
		})
	}
}

// TestReplayBesideRedelivery: the letter is replayed and delivered before the
// original comes back, whose worker died between letter and ack.
func TestReplayBesideRedelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &death{at: "carried"}
	stop := b.work(d)
	b.publish("m", "550x1@example.net")
	b.eventually("the worker dies", d.isDead)
	stop()
	dead := b.dead()
	if len(dead) != 1 {
		t.Fatalf("dead letters: %v", dead)
	}
	for range 3 {
		if err := b.yard.Replay(t.Context(), dead[0], 5); err != nil && !errors.Is(err, deadletter.ErrSettled) {
			t.Fatal(err)
		}
	}
	b.work(nil)
	b.settled()
	b.accepted("m", map[string]int{"550x1@example.net": 1})
	if dead := b.dead(); len(dead) > 0 {
		t.Errorf("dead again: %+v", dead[0].DeadLetter)
	}
}

// TestReplayerDies at each point of its way. The letter goes out once, whether
// somebody asks again or, from the copy on, nobody does.
func TestReplayerDies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at    string
		again bool
	}{{"record", true}, {"recorded", true}, {"carried", true}, {"carried", false}} {
		t.Run(fmt.Sprintf("%s, again %v", c.at, c.again), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stop := b.work(nil)
			b.publish("m", "550x1@example.net")
			b.eventually("the letter is dead", func() bool { return len(b.dead()) == 1 })
			stop()
			l := b.dead()[0]
			parts, _ := b.parts(&death{at: c.at})
			m := parts.Store.(mortal)
			if err := deadletter.New(mortalStore{m}, m, b.conn.Now).Replay(t.Context(), l, 5); err == nil || !m.isDead() {
				t.Fatalf("the replayer lives: %v", err)
			}
			if c.again {
				if err := b.yard.Replay(t.Context(), l, 5); err != nil {
					t.Fatal(err)
				}
			}
			b.work(nil)
			b.settled()
			b.accepted("m", map[string]int{"550x1@example.net": 1})
			if dead := b.dead(); len(dead) > 0 {
				t.Errorf("it still lies dead: %+v", dead[0].DeadLetter)
			}
		})
	}
}

func TestReplayFailsAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.work(nil)
	b.publish("m", "ann@example.net", "550@example.net")
	for round := 1; round <= 5; round++ {
		b.eventually("the letter is dead", func() bool { d := b.dead(); return len(d) == 1 && d[0].Replays == round-1 })
		if err := b.yard.Replay(t.Context(), b.dead()[0], 5); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("the letter is dead", func() bool { d := b.dead(); return len(d) == 1 && d[0].Replays == 5 })
	l := b.dead()[0]
	if err := b.yard.Replay(t.Context(), l, 5); !errors.Is(err, deadletter.ErrTooOften) {
		t.Errorf("the sixth replay: %v", err)
	}
	b.accepted("m", map[string]int{"ann@example.net": 1})
	if len(l.Log) != 6 || l.Attempts != 1 {
		t.Errorf("%d attempts in the log, %d counted since the last replay", len(l.Log), l.Attempts)
	}
}

// TestReplayWhileScheduled: a letter is replayed while an earlier copy of the
// same line still waits. That copy is the replay.
func TestReplayWhileScheduled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.RetryAfter = Durations{time.Second}
	b.work(nil)
	b.publish("m", "550x1@example.net")
	b.eventually("the letter is dead", func() bool { return len(b.dead()) == 1 })
	l := b.dead()[0]
	b.setDown(true) // so that the copy stays where it is
	for range 5 {
		err := b.yard.Replay(t.Context(), l, 5)
		if err != nil && !errors.Is(err, deadletter.ErrSettled) {
			t.Fatal(err)
		}
	}
	if n := b.queued(); n != 1 {
		t.Errorf("%d copies, want 1", n)
	}
	b.setDown(false)
	b.settled()
	b.accepted("m", map[string]int{"550x1@example.net": 1})
}

// TestCrashLoop: what was delivered 16 times without a record is buried unread.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.delivered = crashLoop
	if err := w.settle(t.Context(), t.Context(), lane, h); err != nil {
		t.Fatal(err)
	}
	dead := b.dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonCrashLoop || string(dead[0].Body) != string(h.body) {
		t.Errorf("dead letters: %+v", dead)
	}
	b.accepted("m", map[string]int{"ann@example.net": 0})
}

// TestCrashLoopWithARecord: the message was delivered; its worker died 16 times
// before the ack. It is not to lie dead.
func TestCrashLoopWithARecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &death{at: "recorded"}
	stop := b.work(d)
	b.publish("the id in the body", "ann@example.net")
	b.eventually("the worker dies", d.isDead)
	stop()
	w := b.idle()
	h := b.pullFresh(w)
	h.delivered = crashLoop
	if err := w.settle(t.Context(), t.Context(), lane, h); err != nil {
		t.Fatal(err)
	}
	if dead := b.dead(); len(dead) > 0 || b.queued() > 0 {
		t.Errorf("dead letters: %+v, %d in the queue", dead, b.queued())
	}
}

// TestEarlierHop: a message whose line has come further, in a copy or a letter,
// was settled before and brought back. It is acked, however often it was
// delivered: it is neither sent nor buried, and the record stays as it is.
func TestEarlierHop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	for _, state := range []wire.State{wire.StateScheduled, wire.StateDead} {
		for _, delivered := range []int{1, 2, crashLoop} {
			id := fmt.Sprintf("%s-%d", state, delivered)
			b.publish(id, "ann@example.net")
			h := b.pullFresh(w)
			h.delivered = delivered
			read := twin(h)
			if err := w.identify(t, read); err != nil {
				t.Fatal(err)
			}
			further := read.draft(time.Now())
			further.Generation = 1
			setPending(further, state, "")
			conclude(further)
			if _, err := w.Journal.Set(t.Context(), further, 0, false); err != nil {
				t.Fatal(err)
			}
			if err := w.settle(t.Context(), t.Context(), lane, h); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			b.accepted(id, map[string]int{"ann@example.net": 0})
			if rec, _, err := w.Journal.Lookup(t.Context(), read.own.Key); err != nil || rec.Generation != 1 || !rec.Has(state) {
				t.Errorf("%s: its line's record has become %+v, %v", id, rec, err)
			}
		}
	}
	if n, dead := b.queued(), b.dead(); n > 0 || len(dead) > 0 {
		t.Errorf("%d in the queue, %d dead letters", n, len(dead))
	}
}

// TestConsumerWithoutALeader: a worker waits for a consumer that does not
// answer, and says each minute what for.
func TestConsumerWithoutALeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, said := time.Now(), &bytes.Buffer{}
		w := New(Config{}, Parts{
			Log: slog.New(slog.NewTextHandler(said, nil)), Metrics: prometheus.NewRegistry(),
			Durable: func(context.Context, string, string) (jetstream.Consumer, error) {
				if time.Since(began) < 150*time.Second {
					return nil, fmt.Errorf("%w: no leader", stream.ErrAway)
				}
				return nil, nil //nolint:nilnil // one that nobody asks for anything
			},
		})
		if err := w.find(t.Context(), &source{stream: "MAIL_SEND_A", name: "fresh"}); err != nil {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "MAIL_SEND_A"); n != 3 {
			t.Errorf("said %d times in 150 s, want 3:\n%s", n, said)
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.find(ctx, &source{}); err == nil {
			t.Error("no error when told to stop")
		}
	})
}

// TestPanicEndsAsCrashLoop: a message that breaks our code breaks nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.books.hold = func(m mail.Message) {
		if m.ID == "poison" {
			panic("poisoned")
		}
	}
	w := b.idle()
	b.publish("poison", "ann@example.net")
	h := b.pullFresh(w)
	w.log = newDiscard()
	w.settleSafely(t.Context(), t.Context(), lane, h)
	b.publish("good", "bob@example.net")
	w.settleSafely(t.Context(), t.Context(), lane, b.pullFresh(w))
	b.accepted("good", map[string]int{"bob@example.net": 1})
	if n := b.queued(); n != 1 {
		t.Errorf("%d in the queue, want the poisoned one", n)
	}
	if n := counted(t, w.metrics.panics); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

// refusing is a journal whose broker answers, and says no.
type refusing struct{ Journal }

func (refusing) Set(context.Context, *wire.Record, uint64, bool) (uint64, error) {
	return 0, errors.New("permissions violation")
}

// TestLeft: what the broker refuses to settle stays in its stream, and is counted.
func TestLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	w.Journal = refusing{w.Journal}
	w.log = newDiscard()
	b.publish("refused", "ann@example.net")
	w.settleSafely(t.Context(), t.Context(), lane, b.pullFresh(w))
	if n, queued := counted(t, w.metrics.left), b.queued(); n != 1 || queued != 1 {
		t.Errorf("%v counted, %d in the queue, want one and one", n, queued)
	}
}

// TestSweep finds a message that has run out of deliveries, and one that was
// settled and brought back.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.publish("stranded", "ann@example.net")
	b.exhaust(w)
	h, _ := b.ghost(w, false)
	_ = h.msg.NakWithDelay(0)
	b.exhaust(w)
	b.work(nil)
	b.settled()
	b.accepted("ghost", map[string]int{"bob@example.net": 0})
	b.accepted("stranded", map[string]int{"ann@example.net": 0})
	dead := b.dead()
	if len(dead) != 1 || dead[0].Key.ID != "stranded" || dead[0].Reason != mail.ReasonStranded {
		t.Errorf("dead letters: %+v", dead)
	}
}

func (c *Consumer) identify(t *testing.T, h *delivery) error {
	t.Helper()
	if err := h.identify(lane); err != nil {
		return err
	}
	return h.read(lane)
}

// ghost publishes a mail and records on its line that it was delivered. The hand
// that it gives has read nothing of that.
func (b *bench) ghost(w *Consumer, brief bool) (*delivery, wire.Key) {
	b.t.Helper()
	b.publish("ghost", "bob@example.net")
	h := b.pullFresh(w)
	read := twin(h)
	if err := w.identify(b.t, read); err != nil {
		b.t.Fatal(err)
	}
	if _, err := w.Journal.Set(b.t.Context(), ghostRecord(read), 0, brief); err != nil {
		b.t.Fatal(err)
	}
	return h, read.own.Key
}

func ghostRecord(h *delivery) *wire.Record {
	rec := h.draft(time.Now())
	setPending(rec, wire.StateDelivered, "")
	conclude(rec)
	return rec
}

// exhaust uses up the deliveries of the next message.
func (b *bench) exhaust(c *Consumer) {
	b.t.Helper()
	for {
		q, err := c.Durable(b.t.Context(), lane.SendStream(), wire.ConsumerFresh)
		if err != nil {
			b.t.Fatal(err)
		}
		m, err := q.Next(jetstream.FetchMaxWait(300 * time.Millisecond))
		if err != nil {
			return
		}
		if err := m.Nak(); err != nil {
			b.t.Fatal(err)
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
	_ = h.msg.NakWithDelay(0)
	b.exhaust(w)
	b.work(nil)
	b.settled()
	b.accepted("ghost", map[string]int{"bob@example.net": 0})
	if dead := b.dead(); len(dead) > 0 {
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
	h.delivered = crashLoop
	if err := w.settle(t.Context(), t.Context(), lane, h); err != nil {
		t.Fatal(err)
	}
	b.settled()
	if dead := b.dead(); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead[0].DeadLetter)
	}
}

// forgetRecords lets all records expire once the log has that line's.
func (b *bench) forgetRecords(l wire.Key) {
	b.t.Helper()
	b.eventually("the log has the entry", func() bool {
		_, err := b.store.Last(b.t.Context(), wire.StreamEvent, l.EventSubject())
		return err == nil
	})
	s, err := b.conn.JS().Stream(b.t.Context(), wire.StreamRecord)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Purge(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func TestHandedOut(t *testing.T) {
	t.Parallel()
	info := func(floor, last, pending uint64, unacked, again int) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{
			AckFloor: jetstream.SequenceInfo{Stream: floor}, Delivered: jetstream.SequenceInfo{Stream: last},
			NumPending: pending, NumAckPending: unacked, NumRedelivered: again,
		}
	}
	for _, c := range []struct {
		info *jetstream.ConsumerInfo
		want uint64
	}{
		{info(3, 9, 0, 0, 0), 9},
		{info(3, 9, 1, 0, 0), 3},
		{info(3, 9, 0, 1, 0), 3},
		{info(3, 9, 0, 0, 1), 9},
	} {
		if got := HandedOut(c.info); got != c.want {
			t.Errorf("%+v: %d, want %d", c.info, got, c.want)
		}
	}
}

func TestGateSettlesDownAfterAReconnect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ago  time.Duration
		open bool
	}{{0, false}, {settleDown - 200*time.Millisecond, false}, {settleDown + time.Millisecond, true}} {
		g := &gate{link: linkStub{time.Now().Add(-c.ago)}}
		if got := g.closedFor() <= 0; got != c.open {
			t.Errorf("%s after a reconnect: open %v, want %v", c.ago, got, c.open)
		}
	}
}

type linkStub struct{ last time.Time }

func (linkStub) Epoch() int64               { return 0 }
func (l linkStub) LastReconnect() time.Time { return l.last }

// TestLargestBodyToThree: deferred, buried and replayed, whole each time.
func TestLargestBodyToThree(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.work(nil)
	text := strings.Repeat(" ", 8<<20-65<<10-512) // JSON may hold it, and the mail stays small
	id := strings.Repeat("i", 200)
	b.publishWith(id, `,"max_attempts":2`+text, "ann@example.net", "450@example.net", "550x1@example.net")
	b.eventually("two are dead", func() bool { return b.queued() == 0 && len(b.dead()) == 2 })
	for _, l := range b.dead() {
		if len(l.Body) < len(text) {
			t.Errorf("the letter of %s has %d bytes", l.Key, len(l.Body))
		}
		if err := b.yard.Replay(t.Context(), l, 5); err != nil {
			t.Fatal(err)
		}
	}
	b.settled()
	b.accepted(id, map[string]int{"ann@example.net": 1, "550x1@example.net": 1})
}

// TestSendAt: a mail for later goes out then, and not before.
func TestSendAt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.work(nil)
	due := b.conn.Now().Add(1500 * time.Millisecond)
	var sent time.Time
	b.books.hold = func(mail.Message) { sent = b.conn.Now() }
	b.publishWith("m", fmt.Sprintf(`,"send_at":%q`, due.Format(time.RFC3339Nano)), "ann@example.net")
	b.publishWith("expired", fmt.Sprintf(`,"expires_at":%q`, due.Add(-time.Hour).Format(time.RFC3339Nano)), "ann@example.net")
	b.settled()
	if late := sent.Sub(due); late < 0 || late > time.Second {
		t.Errorf("sent %s after it was due", late)
	}
	if dead := b.dead(); len(dead) != 1 || dead[0].Reason != mail.ReasonExpired {
		t.Errorf("dead letters: %+v", dead)
	}
}

// TestDrain: what is in hand ends, what waits is handed back, nothing is lost
// and nothing comes twice.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 40 {
		b.publish(fmt.Sprintf("m%d", i), "ann@example.net")
	}
	first := make(chan struct{}, 100)
	release := make(chan struct{})
	b.books.hold = func(mail.Message) { first <- struct{}{}; <-release }
	stop := b.work(nil)
	<-first
	time.AfterFunc(200*time.Millisecond, func() { close(release) })
	stop()
	b.books.hold = nil
	b.work(nil)
	b.settled()
	for i := range 40 {
		b.accepted(fmt.Sprintf("m%d", i), map[string]int{"ann@example.net": 1})
	}
}

// TestHurry: a worker that is to stop at once hands back what it has in hand,
// and another sends it.
func TestHurry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Drain = time.Hour
	parts, _ := b.parts(nil)
	c := New(b.cfg, parts)
	begun, release := make(chan struct{}), make(chan struct{})
	b.books.hold = func(mail.Message) { close(begun); <-release }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	b.publish("m", "ann@example.net")
	<-begun
	cancel()
	c.Hurry()
	time.AfterFunc(300*time.Millisecond, func() { close(release) }) // the relay's session is cut off
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.books.hold = nil
	b.accepted("m", map[string]int{"ann@example.net": 0})
	b.work(nil)
	b.settled()
	b.accepted("m", map[string]int{"ann@example.net": 1})
}

// TestGoneHandKeepsTheOthersDead: a second hand whose message is gone adds what
// it had accepted to a whole letter of two. The other one has to lie dead, by
// itself: nobody comes after this hand who would bury it.
func TestGoneHandKeepsTheOthersDead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.publish("m", "ann@example.net", "bob@example.net")
	h := b.pullFresh(w)
	second := twin(h)
	for _, x := range []*delivery{h, second} {
		if err := w.identify(t, x); err != nil {
			t.Fatal(err)
		}
		if _, err := w.lookup(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	dead := h.draft(time.Now())
	setPending(dead, wire.StateDead, mail.ReasonFailed)
	conclude(dead)
	if err := w.record(t.Context(), h, dead); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(t.Context(), h, dead, false); err != nil {
		t.Fatal(err)
	}
	second.lease = w.leases.hold(second.msg)
	t.Cleanup(second.lease.release)
	second.lease.renewed = time.Now().Add(-2 * time.Hour)
	mine := second.draft(time.Now())
	mine.Recipients[0].State = wire.StateDelivered
	mine.Recipients[1].State, mine.Recipients[1].Reason = wire.StateDead, mail.ReasonFailed
	mine.Attempts = []wire.Attempt{{N: 1, Session: "two", At: time.Now()}}
	conclude(mine)
	if err := w.record(t.Context(), second, mine); err == nil {
		t.Fatal("recorded, though its message is gone")
	}
	if dead := b.dead(); len(dead) != 1 || dead[0].Key.Recipient != "1" {
		t.Errorf("dead letters: %v", dead)
	}
}

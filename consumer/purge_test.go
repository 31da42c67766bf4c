package consumer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
)

// turns is a link whose connection a test loses.
type turns struct{ n atomic.Int64 }

func (l *turns) Epoch() int64             { return l.n.Load() }
func (l *turns) LastReconnect() time.Time { return time.Time{} }

const purged = "PURGED"

// purgeBench is a stream with messages 1 to 20, of which a purge knows nothing.
type purgeBench struct {
	*purge
	t     *testing.T
	js    jetstream.JetStream
	store *stream.Store
	link  *turns
	set   *leases
	acked sync.WaitGroup
	// refused are the messages that have to be acked.
	mu      sync.Mutex
	refused []uint64
}

func newPurgeBench(t *testing.T) *purgeBench {
	b := natstest.Start(t)
	nc := b.Conn.NC()
	pb := &purgeBench{t: t, js: b.Conn.JS(), store: stream.New(nc), link: &turns{}}
	pb.set = newLeases(nc, pb.link, Config{AckWait: time.Hour}, func(int) {})
	pb.purge = newPurge(stream.Purger{Store: pb.store}, purged, pb.link, pb.set.ackWait)
	pb.fill()
	return pb
}

func (b *purgeBench) fill() {
	b.t.Helper()
	ctx := natstest.Within(b.t)
	if _, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: purged, Subjects: []string{"purged"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		b.t.Fatal(err)
	}
	for range 20 {
		if _, err := b.js.Publish(ctx, "purged", nil); err != nil {
			b.t.Fatal(err)
		}
	}
}

// lease is one of a message that arrives now.
func (b *purgeBench) lease() *lease {
	l := b.set.add(&nats.Msg{Reply: "ack"})
	l.incarnation, l.purge = b.now(), b.purge
	return l
}

// settled has those messages settled, which arrived with l, and waits until all of them wait
// to be removed or were refused at once.
func (b *purgeBench) settled(l *lease, seqs ...uint64) {
	b.t.Helper()
	var asked atomic.Int64
	for _, seq := range seqs {
		b.acked.Go(func() {
			asked.Add(1)
			if !b.remove(b.t.Context(), l, seq) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.refused = append(b.refused, seq)
			}
		})
	}
	testrun.Eventually(b.t, "all are settled", 10*time.Second, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return int(asked.Load()) == len(seqs) && b.known().waiting+len(b.refused) >= len(seqs)
	})
}

// left are the messages in the stream.
func (b *purgeBench) left() (all []uint64) {
	b.t.Helper()
	for m, err := range stream.All(natstest.Within(b.t), b.store, purged, ">", stream.Range{}) {
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, m.Sequence)
	}
	return all
}

func (b *purgeBench) want(what string, refused, left []uint64) {
	b.t.Helper()
	b.acked.Wait()
	slices.Sort(b.refused)
	if !slices.Equal(b.refused, refused) {
		b.t.Errorf("%s: to be acked %v, want %v", what, b.refused, refused)
	}
	if got := b.left(); !slices.Equal(got, left) {
		b.t.Errorf("%s: left %v, want %v", what, got, left)
	}
	b.refused = nil
}

// calmNow has the time pass in which messages may be delivered again.
func (b *purgeBench) calmNow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.purge.mu.Lock()
	defer b.purge.mu.Unlock()
	b.calm = time.Now()
}

// seqs are the sequences from one to another.
func seqs(from, to uint64) (all []uint64) {
	for ; from <= to; from++ {
		all = append(all, from)
	}
	return all
}

// TestPurge: what is removed is the unbroken run of what this process has settled, from the
// first message of the stream on.
func TestPurge(t *testing.T) {
	t.Parallel()
	b := newPurgeBench(t)
	ctx := natstest.Within(t)
	early := b.lease()
	b.once(ctx) // it learns which stream it is
	l := b.lease()

	b.settled(early, 1, 2, 3, 4, 5)
	b.once(ctx)
	b.want("they arrived before it knew the stream", seqs(1, 5), seqs(1, 20))

	b.settled(l, 1, 2, 3)
	b.once(ctx)
	b.want("so few are acked", seqs(1, 3), seqs(1, 20))

	b.settled(l, 1, 2, 3, 5, 6, 7)
	b.once(ctx)
	b.want("4 is in flight", seqs(5, 7), seqs(4, 20))

	// 4 and 9 are somebody else's, who acks 9; 10 to 12 come behind a gap.
	if err := b.store.Delete(ctx, purged, 9); err != nil {
		t.Fatal(err)
	}
	b.settled(l, 8, 10, 11, 12)
	b.once(ctx)
	b.want("4 is another worker's", []uint64{8, 10, 11, 12}, append(seqs(4, 8), seqs(10, 20)...))
	if err := b.store.Delete(ctx, purged, 4); err != nil {
		t.Fatal(err)
	}
	b.settled(l, 5, 10, 13, 14)
	b.once(ctx)
	b.want("the run goes over a gap", nil, seqs(15, 20))

	b.settled(l, seqs(15, 20)...)
	b.once(ctx)
	b.want("the last", nil, nil)
}

// TestPurgeAfterAKill: a process that begins anew is handed the messages behind those that
// the one before it had in flight. Of these it knows nothing.
func TestPurgeAfterAKill(t *testing.T) {
	t.Parallel()
	b := newPurgeBench(t)
	ctx := natstest.Within(t)
	b.once(ctx)
	b.settled(b.lease(), seqs(6, 20)...)
	b.once(ctx)
	b.want("1 to 5 are in flight to the dead", seqs(6, 20), seqs(1, 20))
}

// TestPurgeForgets: after a reconnect, and in another stream of that name, sequences from
// before say nothing.
func TestPurgeForgets(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*purgeBench){
		"reconnect": func(b *purgeBench) { b.link.n.Add(1) },
		"another stream": func(b *purgeBench) {
			if err := b.js.DeleteStream(natstest.Within(b.t), purged); err != nil {
				b.t.Fatal(err)
			}
			b.fill()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newPurgeBench(t)
			ctx := natstest.Within(t)
			b.once(ctx)
			l := b.lease()
			b.settled(l, 1, 2, 3, 4, 5)
			change(b)
			b.once(ctx)
			b.want("settled before", seqs(1, 5), seqs(1, 20))
			b.once(ctx)
			b.settled(b.lease(), 1, 2, 3, 4, 5)
			b.want("somebody may have some in flight", seqs(1, 5), seqs(1, 20))
			b.calmNow()
			b.settled(l, 1, 2, 3, 4, 5)
			b.once(ctx)
			b.want("arrived before", seqs(1, 5), seqs(1, 20))
			b.settled(b.lease(), 1, 2, 3, 4, 5)
			b.once(ctx)
			b.want("arrived since", nil, seqs(6, 20))
		})
	}
}

// TestPurgeHoldsBackNoRedelivery: at a purge the server forgets for an AckWait what is to be
// delivered again. While there may be something, mail is acked.
func TestPurgeHoldsBackNoRedelivery(t *testing.T) {
	t.Parallel()
	ctx := natstest.Within(t)
	for name, happens := range map[string]func(*purgeBench){
		"requeued":        func(b *purgeBench) { _ = b.lease().Requeue(0) },
		"delivered again": func(b *purgeBench) { b.redelivers(0) },
	} {
		b := newPurgeBench(t)
		b.once(ctx)
		l := b.lease()
		b.settled(l, 1, 2, 3, 4)
		b.once(ctx)
		b.want("before", nil, seqs(5, 20))
		happens(b)
		b.settled(l, 5, 6, 7, 8)
		b.want(name, seqs(5, 8), seqs(5, 20))
		b.calmNow()
		b.settled(l, 5, 6, 7, 8)
		b.once(ctx)
		b.want("an AckWait later", nil, seqs(9, 20))
	}
	b := newPurgeBench(t)
	b.unsure = true
	b.once(ctx)
	b.settled(b.lease(), 1, 2, 3, 4)
	b.want("some were in flight at the start", seqs(1, 4), seqs(1, 20))
}

// TestPurgeForgetsRedeliveries: that is what the server does. If it does so no longer, mail need
// not be acked meanwhile.
func TestPurgeForgetsRedeliveries(t *testing.T) {
	t.Parallel()
	b := newPurgeBench(t)
	ctx := natstest.Within(t)
	c, err := b.js.CreateConsumer(ctx, purged, jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.FetchNoWait(20)
	if err != nil {
		t.Fatal(err)
	}
	var all []jetstream.Msg
	for m := range batch.Messages() {
		all = append(all, m)
	}
	for _, m := range all[10:] {
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	again := func() time.Duration {
		began := time.Now()
		one, err := c.Fetch(1, jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for range one.Messages() {
			return time.Since(began)
		}
		t.Fatal("none comes again")
		return 0
	}
	if took := again(); took > time.Second {
		t.Errorf("one came again after %v", took)
	}
	if err := (stream.Purger{Store: b.store}).PurgeBelow(ctx, purged, 10); err != nil {
		t.Fatal(err)
	}
	if took := again(); took < time.Second {
		t.Errorf("after a purge one came again after %v: the server keeps them now", took)
	}
}

// TestPurgeRemembersLittle: what was acked behind a message that stayed is forgotten once
// that one has gone, so that mail is purged again.
func TestPurgeRemembersLittle(t *testing.T) {
	t.Parallel()
	c := &countingPurger{x: stream.Extent{First: 1, Last: 1 << 20}}
	c.x.Created = time.Now()
	p := newPurge(c, purged, &turns{}, func() time.Duration { return time.Hour })
	set := newLeases(nil, &turns{}, Config{AckWait: time.Hour}, func(int) {})
	p.once(t.Context())
	l := set.add(&nats.Msg{Reply: "ack"})
	l.incarnation = p.now()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	const many = purgeKnown + 100
	for seq := uint64(2); seq <= many; seq++ {
		p.remove(over, l, seq) // and it is acked
	}
	if n := p.known().settled; n != purgeKnown {
		t.Fatalf("%d are remembered", n)
	}
	c.x.First = many + 1
	p.mu.Lock()
	p.looked = time.Time{}
	p.mu.Unlock()
	p.once(t.Context())
	if n := p.known().settled; n != 0 {
		t.Errorf("%d are still remembered", n)
	}
	asked := c.asked
	p.once(t.Context())
	if c.asked != asked {
		t.Error("it asks though nothing waits")
	}
}

// countingPurger holds what it is told to.
type countingPurger struct {
	x     stream.Extent
	asked int
}

func (c *countingPurger) Extent(context.Context, string) (stream.Extent, error) {
	c.asked++
	return c.x, nil
}

func (c *countingPurger) PurgeBelow(context.Context, string, uint64) error { return nil }

func (c *countingPurger) Next(context.Context, string, string, uint64, time.Time) (*jetstream.RawStreamMsg, error) {
	return nil, stream.ErrNotFound
}

// TestPurgeOfALesserStream: a stream whose last sequence is lower than one that was settled
// is another one, whatever it says of itself; and so is one that is younger than a message.
func TestPurgeOfALesserStream(t *testing.T) {
	t.Parallel()
	b := newPurgeBench(t)
	ctx := natstest.Within(t)
	b.once(ctx)
	l := b.lease()
	b.settled(l, 1, 2, 3, 4, 21)
	b.once(ctx)
	b.want("21 is not there", []uint64{1, 2, 3, 4, 21}, seqs(1, 20))
	b.once(ctx)
	b.calmNow()
	young := b.lease()
	young.delivery = &settle.Delivery{Stored: b.created.Add(-time.Hour)}
	b.settled(young, 1, 2, 3, 4)
	b.once(ctx)
	b.want("they were stored before the stream was made", seqs(1, 4), seqs(1, 20))
}

// awayPurger does not answer one of its questions.
type awayPurger struct {
	stream.Purger
	extent, next, purge bool
}

var errAway = fmt.Errorf("%w: a test", stream.ErrAway)

func (a *awayPurger) Extent(ctx context.Context, name string) (stream.Extent, error) {
	if a.extent {
		return stream.Extent{}, errAway
	}
	return a.Purger.Extent(ctx, name)
}

func (a *awayPurger) PurgeBelow(ctx context.Context, name string, seq uint64) error {
	if a.purge {
		return errAway
	}
	return a.Purger.PurgeBelow(ctx, name, seq)
}

func (a *awayPurger) Next(ctx context.Context, name, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error) {
	if a.next {
		return nil, errAway
	}
	return a.Purger.Next(ctx, name, subject, seq, since)
}

// TestPurgeUnanswered: what the broker does not answer is acked.
func TestPurgeUnanswered(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		away          awayPurger
		refused, left []uint64
	}{
		"extent": {awayPurger{extent: true}, []uint64{1, 2, 3, 5, 6}, append(seqs(1, 3), seqs(5, 20)...)},
		"next":   {awayPurger{next: true}, []uint64{5, 6}, seqs(5, 20)},
		"purge":  {awayPurger{purge: true}, []uint64{1, 2, 3, 5, 6}, append(seqs(1, 3), seqs(5, 20)...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newPurgeBench(t)
			ctx := natstest.Within(t)
			b.once(ctx)
			if err := b.store.Delete(ctx, purged, 4); err != nil {
				t.Fatal(err)
			}
			x.away.Purger = stream.Purger{Store: b.store}
			b.purge.store = &x.away
			b.settled(b.lease(), 1, 2, 3, 5, 6)
			b.once(ctx)
			b.want(name, x.refused, x.left)
		})
	}
}

package consumer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// slowRecords is a journal that writes once it may.
type slowRecords struct {
	settle.Journal
	may chan struct{}
}

func (j slowRecords) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, permit func() bool) (uint64, error) {
	<-j.may
	return j.Journal.Set(ctx, k, r, expected, permit)
}

// TestSlotIsFreeOnceAnswered: while what the relay said is recorded, it gets the next
// messages.
func TestSlotIsFreeOnceAnswered(t *testing.T) {
	t.Parallel()
	b := bench.With(t, time.Minute)
	b.Config.Capacity = bench.Capacity(1)
	w := b.Worker(nil)
	j := slowRecords{w.Settle.Journal, make(chan struct{})}
	w.Settle.Journal = j
	const n = 30
	for i := range n {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
	}
	b.Run(b.Make(w), nil)
	b.Eventually("the relay has accepted all", func() bool { return len(b.Relay.Accepted()) == n })
	close(j.may)
	b.Settled()
	for i := range n {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
	}
}

// TestSlotsFollowTheRelay: a relay that can use more gets more while the worker runs, and a
// little is fetched ahead.
func TestSlotsFollowTheRelay(t *testing.T) {
	t.Parallel()
	b := bench.With(t, time.Minute)
	var capacity, begun atomic.Int64
	capacity.Store(2)
	b.Config.Capacity = func() int { return int(capacity.Load()) }
	release := make(chan struct{})
	b.Relay.Hold = func(mail.Message) { begun.Add(1); <-release }
	const n = 30
	for i := range n {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
	}
	b.Work(nil)
	for _, more := range []int64{2, 12} {
		capacity.Store(more)
		want := int64(consumer.SlotsOf(b.Config))
		b.Eventually("all slots are used", func() bool { return begun.Load() == want })
		if info := durable(b, bench.Lane.Sources()[0]); int64(info.NumAckPending) != want {
			t.Errorf("%d messages are in flight, want %d", info.NumAckPending, want)
		}
	}
	close(release)
	b.Settled()
}

// TestAcceptedAndUnrecordedIsBounded: while records get no answer, about 64 messages are
// accepted, and the others wait for their final dot.
func TestAcceptedAndUnrecordedIsBounded(t *testing.T) {
	t.Parallel()
	const n, most = 100, 64
	b := bench.With(t, time.Minute)
	b.Config.Capacity = bench.Capacity(2)
	slots := consumer.SlotsOf(b.Config)
	w := b.Worker(nil)
	j := slowRecords{w.Settle.Journal, make(chan struct{})}
	w.Settle.Journal = j
	var begun atomic.Int64
	b.Relay.Hold = func(mail.Message) { begun.Add(1) }
	for i := range n {
		b.Publish(fmt.Sprint("m", i), "ann@example.net")
	}
	b.Run(b.Make(w), nil)
	b.Eventually("all slots wait for their final dot", func() bool {
		accepted := len(b.Relay.Accepted())
		return accepted >= most && int(begun.Load()) == accepted+slots
	})
	if accepted := len(b.Relay.Accepted()); accepted >= most+slots {
		t.Errorf("%d are accepted", accepted)
	}
	close(j.may)
	b.Settled()
	for i := range n {
		b.Accepted(fmt.Sprint("m", i), map[string]int{"ann@example.net": 1})
	}
}

// TestUnansweredRecordLosesItsLease: a message whose record has waited for an AckWait comes to
// another worker, though the first one lives. The second one settles it, and the first finds
// its record.
func TestUnansweredRecordLosesItsLease(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	b.Config.Drain = time.Minute
	w := b.Worker(nil)
	j := slowRecords{w.Settle.Journal, make(chan struct{})}
	w.Settle.Journal = j
	b.Publish("m", "ann@example.net")
	stop := b.Run(b.Make(w), nil)
	b.Eventually("the first worker's relay has accepted it", func() bool { return len(b.Relay.Accepted()) == 1 })
	stopped := make(chan struct{})
	go func() { // it takes nothing more, and still renews what is in flight
		defer close(stopped)
		stop()
	}()
	b.Work(nil)
	b.Settled()
	close(j.may)
	<-stopped
	b.Accepted("m", map[string]int{"ann@example.net": 2})
	if n := w.Counted(t, "accepted_twice_total"); n != 1 {
		t.Errorf("%v counted as accepted twice", n)
	}
}

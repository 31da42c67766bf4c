package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func yes() bool { return true }

// counted counts what a committer sends. The first batch waits until hold is closed, so
// that the others are collected.
type counted struct {
	*stream.Store

	hold                   chan struct{}
	begun, singles, groups atomic.Int64
	fail                   func(n int64) error
}

func (c *counted) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	c.begun.Add(1)
	<-c.hold
	c.singles.Add(1)
	return c.Store.Set(ctx, m, filter, expected)
}

func (c *counted) Batch(ctx context.Context, writes []stream.Write) (uint64, error) {
	n := c.groups.Add(1)
	if c.fail != nil {
		if err := c.fail(n); err != nil {
			return 0, err
		}
	}
	return c.Store.Batch(ctx, writes)
}

// setAll sets all of them at the same time: one first, which is held, and the others
// while it is on its way. It returns their sequences and errors.
func setAll(t *testing.T, c *counted, writes []stream.Write, permits []func() bool) ([]uint64, []error) {
	t.Helper()
	committer := stream.NewCommitter(c, 0, 32)
	seqs, errs := make([]uint64, len(writes)), make([]error, len(writes))
	var all sync.WaitGroup
	for i, w := range writes {
		all.Go(func() {
			seqs[i], errs[i] = committer.Set(natstest.Within(t), w.Msg, w.Filter, w.Expected, permits[i%len(permits)])
		})
		if i == 0 {
			testrun.Eventually(t, "the first is on its way", 10*time.Second, func() bool { return c.begun.Load() == 1 })
		}
	}
	testrun.Eventually(t, "all wait", 10*time.Second, func() bool { return committer.Waiting() == len(writes)-1 })
	close(c.hold)
	all.Wait()
	return seqs, errs
}

// TestCommitter: what comes while a write is on its way goes in one batch. A conflict of
// one, and a batch that the server refuses, cost the others nothing; what is not
// permitted is not written.
func TestCommitter(t *testing.T) {
	t.Parallel()
	const n = 300
	refuse := fmt.Errorf("%w: too many", stream.ErrBatch)
	for _, x := range []struct {
		name      string
		conflicts int
		refused   bool
		forbidden bool
		singles   []int64 // what they may be
	}{
		{"one batch after another", 0, false, false, []int64{1}},
		{"one conflict", 1, false, false, []int64{1 + 256, n - 256}}, // it is in the first batch, or in the second
		{"batches refused", 0, true, false, []int64{n}},
		{"every third not permitted", 0, false, true, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			c := &counted{Store: b.Conn.Store(), hold: make(chan struct{})}
			if x.refused {
				c.fail = func(int64) error { return refuse }
			}
			writes := records(n, 0)
			for i := range x.conflicts {
				writes[i+1].Expected = 77
			}
			permits := []func() bool{yes}
			if x.forbidden {
				permits = []func() bool{yes, yes, func() bool { return false }}
			}
			seqs, errs := setAll(t, c, writes, permits)
			stored := 0
			for i, err := range errs {
				switch {
				case x.forbidden && i%3 == 2:
					if !errors.Is(err, stream.ErrLate) {
						t.Errorf("write %d was not permitted: %v", i, err)
					}
				case i > 0 && i <= x.conflicts:
					if !errors.Is(err, stream.ErrConflict) {
						t.Errorf("write %d is a conflict: %v", i, err)
					}
				case err != nil:
					t.Errorf("write %d: %v", i, err)
				default:
					stored++
					if m, err := c.Last(natstest.Within(t), wire.StreamRecord, writes[i].Msg.Subject); err != nil || m.Sequence != seqs[i] {
						t.Fatalf("write %d was stored as %d, say the committer; %v, %v", i, seqs[i], m, err)
					}
				}
			}
			if got := messages(t, b, wire.StreamRecord); got != uint64(stored) {
				t.Errorf("%d messages stored, %d acknowledged", got, stored)
			}
			if s := c.singles.Load(); x.singles != nil && !slices.Contains(x.singles, s) {
				t.Errorf("%d single writes, want %v", s, x.singles)
			}
			// After a refusal the second is tried again if the first took a second.
			if g := c.groups.Load(); g != 2 && (g != 1 || !x.refused) {
				t.Errorf("%d batches", g)
			}
		})
	}
}

// TestCommitterOneKey: two writes of one key are not in one batch; the second loses.
func TestCommitterOneKey(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := &counted{Store: b.Conn.Store(), hold: make(chan struct{})}
	writes := records(20, 0)
	_, errs := setAll(t, c, slices.Concat(writes, writes), []func() bool{yes})
	for i := range writes {
		if won, lost := errs[i], errs[i+len(writes)]; (won == nil) == (lost == nil) || !errors.Is(errors.Join(won, lost), stream.ErrConflict) {
			t.Errorf("key %d: %v and %v", i, won, lost)
		}
	}
}

// timed is a store that answers after the time that its disk would need.
type timed struct {
	sizes []int
}

func (d *timed) Set(context.Context, *nats.Msg, string, uint64) (uint64, error) {
	time.Sleep(300 * time.Microsecond)
	d.sizes = append(d.sizes, 1)
	return 1, nil
}

func (d *timed) Batch(_ context.Context, writes []stream.Write) (uint64, error) {
	time.Sleep(2 * time.Millisecond)
	d.sizes = append(d.sizes, len(writes))
	return 1, nil
}

// TestCommitterLingers: while a write comes each millisecond they go in batches, and none
// takes longer than the wait and two batches. One that comes by itself waits for nobody.
func TestCommitterLingers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &timed{}
		c := stream.NewCommitter(disk, 10*time.Millisecond, 32)
		set := func() time.Duration {
			began := time.Now()
			if _, err := c.Set(t.Context(), nats.NewMsg("s"), "", 0, yes); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		for range 10 {
			if took := set(); took != 300*time.Microsecond {
				t.Errorf("a lone write took %s", took)
			}
			time.Sleep(20 * time.Millisecond)
		}
		disk.sizes = nil
		var slowest atomic.Int64
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				took := int64(set())
				for was := slowest.Load(); took > was && !slowest.CompareAndSwap(was, took); was = slowest.Load() {
				}
			})
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		if n := len(disk.sizes); n > 150 || time.Duration(slowest.Load()) > 14*time.Millisecond {
			t.Errorf("%d writes to the disk, the slowest took %s: %v", n, time.Duration(slowest.Load()), disk.sizes)
		}
		time.Sleep(100 * time.Millisecond)
		if took := set(); took != 300*time.Microsecond {
			t.Errorf("a lone write afterwards took %s", took)
		}
	})
}

package slots

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/wire"
)

func TestSlotsGoByWeight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(10, 1<<20, wire.Lanes{{Lane: "urgent", Weight: 6}, {Lane: "normal", Weight: 3}, {Lane: "bulk", Weight: 1}})
		// Alone, a lane has them all.
		for range 10 {
			if _, err := s.Acquire(t.Context(), "bulk", 1); err != nil {
				t.Fatal(err)
			}
		}
		got := make(chan wire.Lane, 100)
		ctx, cancel := context.WithCancel(t.Context())
		for _, l := range []wire.Lane{"bulk", "normal", "urgent"} {
			for range 20 {
				go func() {
					if _, err := s.Acquire(ctx, l, 1); err == nil {
						got <- l
					}
				}()
			}
		}
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("a slot was given that was not free")
		}
		count := map[wire.Lane]int{}
		for range 10 {
			s.Release("bulk", 1)
			synctest.Wait()
			count[<-got]++
		}
		if count["urgent"] != 6 || count["normal"] != 3 || count["bulk"] != 1 {
			t.Errorf("all busy: %v", count)
		}
		cancel()
		synctest.Wait()
		for l, n := range count {
			for range n {
				s.Release(l, 1)
			}
		}
		if s.free != 10 {
			t.Errorf("%d free at the end", s.free)
		}
	})
}

func TestSlotsCanceled(t *testing.T) {
	t.Parallel()
	s := New(1, 1<<20, wire.Lanes{{Lane: "a", Weight: 1}})
	if _, err := s.Acquire(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Acquire(ctx, "a", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.Release("a", 1)
	if _, err := s.Acquire(t.Context(), "a", 1); err != nil {
		t.Errorf("after a canceled wait: %v", err)
	}
	s.mu.Lock() // the canceled wait may still be waking others
	defer s.mu.Unlock()
	if s.free != 0 {
		t.Errorf("after a canceled wait %d slots are free", s.free)
	}
}

// TestSlotsOfBytes: while too many bytes are in flight nothing is begun, unless
// nothing is worked on at all.
func TestSlotsOfBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(3, 100, wire.Lanes{{Lane: "a", Weight: 1}})
		s.AddBytes(150)
		if _, err := s.Acquire(t.Context(), "a", 1); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := s.Acquire(t.Context(), "a", 1)
			got <- err
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("a second message is begun beyond the bytes")
		}
		if n := s.Reserve(); n != 1 {
			t.Errorf("%d bytes are reserved for a batch, want the least", n)
		}
		s.AddBytes(-1)
		s.AddBytes(-60)
		if err := <-got; err != nil {
			t.Error(err)
		}
		if n := s.Reserve(); n != 5 {
			t.Errorf("%d bytes are reserved for a batch, want half of 10", n)
		}
		// One of 50 has to wait until there is room for it, or nothing is in flight.
		large := make(chan error, 2)
		go func() { large <- s.ReserveAll(t.Context(), 50) }()
		synctest.Wait()
		if len(large) > 0 {
			t.Error("50 bytes are reserved beside 95 of 100")
		}
		s.AddBytes(-45)
		synctest.Wait()
		if len(large) != 1 {
			t.Error("50 bytes are not reserved beside 50 of 100")
		}
		s.AddBytes(-50)
		go func() { large <- s.ReserveAll(t.Context(), 500) }()
		synctest.Wait()
		if len(large) != 1 {
			t.Error("more than all bytes are reserved beside others")
		}
		s.AddBytes(-50)
		synctest.Wait()
		if len(large) != 2 {
			t.Error("a message larger than all bytes does not go alone")
		}
	})
}

// TestVacate: a message that waits for its record leaves its slot to others, up to a number,
// and still counts with its bytes: too many of them hold back all but the first.
func TestVacate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lane = "normal"
		s := New(1, 100, wire.Lanes{{Lane: lane, Weight: 1}})
		take := func() bool {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := make(chan bool, 1)
			go func() {
				_, err := s.Acquire(ctx, lane, 1)
				got <- err == nil
			}()
			synctest.Wait()
			return len(got) == 1 && <-got
		}
		s.AddBytes(100)
		if !take() || take() {
			t.Fatal("the first message must go, whatever its size, and no other")
		}
		if !s.Vacate(lane) || take() {
			t.Fatal("a second one goes, though too many bytes are in flight")
		}
		s.AddBytes(-1)
		if !take() {
			t.Fatal("the slot is not free")
		}
		for n := 1; s.Vacate(lane); n++ {
			if n > vacatedMost || !take() {
				t.Fatalf("after %d", n)
			}
		}
		if s.vacated != vacatedMost || take() {
			t.Errorf("%d messages are in flight without a slot", s.vacated)
		}
		s.Release(lane, 1)
		for range vacatedMost {
			s.Leave()
		}
		if s.free != s.all || s.vacated != 0 {
			t.Errorf("%d of %d are free at the end", s.free, s.all)
		}
	})
}

// TestResize: more slots are there at once; of fewer, those in use stay in use.
func TestResize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lane = "normal"
		s := New(2, 100, wire.Lanes{{Lane: lane, Weight: 1}})
		var taken atomic.Int64
		for range 10 {
			go func() {
				if _, err := s.Acquire(t.Context(), lane, 1); err == nil {
					taken.Add(1)
				}
			}()
			synctest.Wait()
		}
		want := func(n int64) {
			t.Helper()
			synctest.Wait()
			if taken := taken.Load(); taken != n {
				t.Fatalf("%d are taken, want %d", taken, n)
			}
		}
		want(2)
		s.Resize(5)
		want(5)
		s.Resize(1)
		s.Release(lane, 4)
		want(5)
		s.Release(lane, 1)
		want(6)
		s.Resize(10)
		want(10)
	})
}

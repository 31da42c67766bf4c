package slots

import (
	"context"
	"errors"
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

package smtp

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestState: the state has the relay's fault, since when, and the next probe; whoever
// watches is told of each change.
func TestState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var repaired atomic.Bool
		b := newPiped(t, shortPauses)
		b.dialer.connect = func(context.Context, string) (net.Conn, error) {
			if repaired.Load() {
				return b.server.Pipe(), nil
			}
			return nil, &net.OpError{Op: "dial", Err: errors.New("no route")}
		}
		s, changed := b.State()
		if s.Fault != nil || s.Relay != b.Name() || !s.Since.IsZero() {
			t.Fatalf("at first: %+v", s)
		}
		begun := time.Now()
		b.wantClasses(t, message(), "requeued")
		<-changed
		synctest.Wait()
		for range 3 { // probes
			s, changed = b.State()
			if s.Fault == nil || !strings.Contains(s.Fault.Detail(), "no route") || s.Trial || !s.Since.Equal(begun) {
				t.Fatalf("while down: %+v", s)
			}
			if d := time.Until(s.Next); d <= 0 || d > time.Minute {
				t.Fatalf("the next probe is in %s", d)
			}
			time.Sleep(time.Until(s.Next))
			synctest.Wait()
			select {
			case <-changed:
			default:
				t.Fatal("nobody was told of a probe")
			}
		}
		repaired.Store(true)
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, _ = b.State(); s.Fault != nil || !s.Next.IsZero() || !s.Since.After(begun) {
			t.Errorf("after it came back: %+v", s)
		}
	})
}

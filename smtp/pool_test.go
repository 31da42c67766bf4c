package smtp

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t), func(c *Config) { c.MaxSessions, c.MessagesPerSession = 3, 7 })
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for range 20 {
				if got := classes(b.Deliver(t.Context(), message())); got != "delivered" {
					t.Errorf("outcome %s", got)
				}
			}
		})
	}
	wg.Wait()
	if peak, n := b.server.Peak(), b.server.Accepted(); peak > 3 || n != 240 {
		t.Errorf("%d sessions at a time, %d messages", peak, n)
	}
	// Each session but the last one of each slot has seven messages.
	if n := b.server.Sessions(); n < 240/7 || n > 240/7+4 {
		t.Errorf("%d sessions for 240 messages", n)
	}
}

// TestWaitForSlot: Deliver waits for a session until its context ends.
func TestWaitForSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newPiped(t, func(c *Config) { c.MaxSessions = 1 }, smtptest.On("DOT", smtptest.Answer{Until: release, Reply: "250 ok"}))
		first := make(chan string, 1)
		go func() { first <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tx := b.Deliver(ctx, message())
		if o := tx.Outcomes[0]; o.Class != "requeued" || o.Stage != "local" || !strings.Contains(o.Reply, "no session was free") {
			t.Errorf("%+v", o)
		}
		close(release)
		if got := <-first; got != "delivered" {
			t.Error(got)
		}
		b.wantClasses(t, message(), "delivered")
		if n := b.server.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// TestLastUsedFirst: the session used last is used again, so that the others age.
func TestLastUsedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, nil, smtptest.On("DOT", smtptest.Answer{Delay: time.Second, Reply: "250 ok"}))
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				b.Deliver(t.Context(), message())
			})
		}
		wg.Wait()
		for range 20 {
			b.wantClasses(t, message(), "delivered")
		}
		if busy, idle := b.pool.count(); busy != 0 || idle != 1 || b.server.Sessions() != 3 {
			t.Errorf("%d busy, %d idle of %d sessions: want the two unused ones gone", busy, idle, b.server.Sessions())
		}
	})
}

// TestClose: idle sessions quit, busy ones finish, and those that wait for one are
// refused.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newPiped(t, func(c *Config) { c.MaxSessions = 2 }, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "DOT" && st.Message == 2 {
				return &smtptest.Answer{Until: release, Reply: "250 ok"}
			}
			return nil
		}))
		b.wantClasses(t, message(), "delivered")
		busy, waiting := make(chan string, 2), make(chan string, 1)
		go func() { busy <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		b.wantClasses(t, message(), "delivered")
		go func() { busy <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		go func() { waiting <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()

		done := make(chan error)
		go func() { done <- b.Close(t.Context()) }()
		if got := <-waiting; got != "requeued" {
			t.Errorf("the waiting one got %s", got)
		}
		time.AfterFunc(time.Minute, func() { close(release) })
		if err := <-done; err != nil {
			t.Errorf("Close: %v", err)
		}
		if got := <-busy + " " + <-busy; got != "delivered delivered" {
			t.Errorf("the busy ones got %s", got)
		}
		for n := 1; n <= 2; n++ {
			if !strings.HasSuffix(b.server.Transcript(n), "C: QUIT\r\nS: 221 2.0.0 bye\r\n") {
				t.Errorf("session %d did not quit", n)
			}
		}
		b.wantClasses(t, message(), "requeued")
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestCloseSilentQuit: a relay that does not answer QUIT does not hold up Close.
func TestCloseSilentQuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, nil, smtptest.On("QUIT", smtptest.Answer{Until: make(chan struct{})}))
		b.wantClasses(t, message(), "delivered")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Close took %s: %v", time.Since(start), err)
		}
	})
}

// TestCloseCutsOff: sessions that take too long are cut off, with the right outcome.
func TestCloseCutsOff(t *testing.T) {
	t.Parallel()
	for verb, want := range map[string]string{"CONNECT": "requeued", "MAIL": "requeued", "DATA": "requeued", "DOT": "uncertain"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newPiped(t, nil, smtptest.On(verb, smtptest.Answer{Until: make(chan struct{})}))
				got := make(chan string, 1)
				go func() { got <- classes(b.Deliver(context.Background(), message())) }()
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close: %v", err)
				}
				if g := <-got; g != want {
					t.Errorf("outcome %s, want %s", g, want)
				}
			})
		})
	}
}

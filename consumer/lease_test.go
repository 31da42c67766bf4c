package consumer_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/mail"
)

// slowDot is a relay that takes its time after the final dot, and then accepts.
type slowDot struct {
	mu       sync.Mutex
	takes    time.Duration
	dots     int
	accepted int
	dot      chan struct{}
}

func (s *slowDot) Up() bool                   { return true }
func (s *slowDot) Wait(context.Context) error { return nil }

func (s *slowDot) Deliver(_ context.Context, m mail.Message) mail.Transaction {
	tx := mail.Transaction{At: time.Now(), Relay: "slow", Session: time.Now().String()}
	if err := m.Permit(); err != nil {
		for range m.Recipients {
			tx.Outcomes = append(tx.Outcomes, mail.Outcome{Class: mail.Requeued, Stage: mail.StageLocal, Reply: err.Error()})
		}
		return tx
	}
	s.mu.Lock()
	if s.dots++; s.dots == 1 {
		close(s.dot)
	}
	s.mu.Unlock()
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	for range m.Recipients {
		s.accepted++
		tx.Outcomes = append(tx.Outcomes, mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Reply: "ok"})
	}
	return tx
}

// TestReconnectAtASlowDot: a broker that is restarted in good order while a relay
// that is slower than AckWait has the dot makes nothing twice: the worker is alive
// and goes on renewing what it has in flight.
func TestReconnectAtASlowDot(t *testing.T) {
	t.Parallel()
	b := bench.With(t, 4*time.Second)
	r := &slowDot{takes: 12 * time.Second, dot: make(chan struct{})}
	b.WorkAt(r)
	b.WorkAt(r)
	b.Publish("slow", "ann@example.net")
	<-r.dot
	b.Broker.Restart(t)
	b.Settled()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dots != 1 {
		t.Errorf("%d dots sent, want 1", r.dots)
	}
}

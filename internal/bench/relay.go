// Package bench is for tests: a broker, a relay that keeps books, and workers that
// die at the point that the test names.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/mail"
)

// Relay keeps books: what each address was told, in order. Its answers go by the
// address: "451x2@…" is deferred twice, "550@…" fails, "421@…" is the relay's
// fault, "lost@…" gets no reply after the dot.
type Relay struct {
	// Words, if set, are what the relay says on acceptance.
	Words func(address string) string
	// Hold, if set, is called in each transaction before the answer.
	Hold func(m mail.Message)

	mu       sync.Mutex
	told     map[string][]mail.Class
	accepted map[string]int
	down     bool
}

// NewRelay is a relay with empty books.
func NewRelay() *Relay { return &Relay{told: map[string][]mail.Class{}, accepted: map[string]int{}} }

// SetDown makes it refuse everything, or take mail again.
func (r *Relay) SetDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// Up reports that it takes mail.
func (r *Relay) Up() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.down
}

// Wait returns once it does.
func (r *Relay) Wait(ctx context.Context) error {
	for !r.Up() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Accepted is how often it accepted mail, by "<id> <address>".
func (r *Relay) Accepted() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]int, len(r.accepted))
	maps.Copy(all, r.accepted)
	return all
}

// Told is what it told, by "<id> <address>".
func (r *Relay) Told(key string) []mail.Class {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]mail.Class(nil), r.told[key]...)
}

// Deliver makes a transaction.
func (r *Relay) Deliver(ctx context.Context, m mail.Message) mail.Transaction {
	if r.Hold != nil {
		r.Hold(m)
	}
	tx := mail.Transaction{At: time.Now(), Relay: "books", Session: "1"}
	refused := read(m)
	if refused == nil {
		refused = ctx.Err()
	}
	if m.Permit != nil && refused == nil {
		refused = m.Permit()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if tx.Down = r.down; r.down {
		refused = errors.New("waiting for the relay")
	}
	for _, to := range m.Recipients {
		if refused != nil { // the relay heard nothing, and counts nothing
			tx.Outcomes = append(tx.Outcomes, mail.Outcome{Class: mail.Requeued, Stage: mail.StageLocal, Reply: refused.Error()})
			continue
		}
		o := r.answer(to.Address)
		key := m.ID + " " + to.Address
		r.told[key] = append(r.told[key], o.Class)
		if o.Class == mail.Delivered || o.Class == mail.Uncertain {
			r.accepted[key]++
		}
		tx.Outcomes = append(tx.Outcomes, o)
	}
	return tx
}

func read(m mail.Message) error {
	body, err := m.Body.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}

// answer is decided by how often the address was answered before. r.mu is held.
func (r *Relay) answer(addr string) mail.Outcome {
	local, _, _ := strings.Cut(addr, "@")
	before := 0
	for key, told := range r.told {
		if strings.HasSuffix(key, " "+addr) {
			before += len(told)
		}
	}
	var code, times int
	n, _ := fmt.Sscanf(local, "%dx%d", &code, &times)
	switch {
	case local == "lost" && before == 0:
		return mail.Outcome{Class: mail.Uncertain, Stage: mail.StageDot, Reply: "no reply"}
	case n == 0 && r.Words != nil:
		return mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Reply: r.Words(addr)}
	case n == 0, n == 2 && before >= times:
		return mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Enhanced: "2.0.0", Reply: "queued as Q1", QueueID: "Q1"}
	case code == 421:
		return mail.Outcome{Class: mail.Requeued, Stage: mail.StageRcpt, Code: 421, Enhanced: "4.3.0", Reply: "come back"}
	case code >= 500:
		return mail.Outcome{Class: mail.Failed, Stage: mail.StageRcpt, Code: code, Enhanced: "5.1.1", Reply: "no such user"}
	}
	return mail.Outcome{Class: mail.Deferred, Stage: mail.StageRcpt, Code: code, Enhanced: "4.2.0", Reply: "later"}
}

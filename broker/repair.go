package broker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/wire"
)

const (
	repairEvery = 5 * time.Second
	reportEvery = time.Minute
)

// Repairs makes streams and consumers that are gone, once for all that were
// interrupted: a cluster without a leader, for one, interrupts all.
type Repairs struct {
	do  func(ctx context.Context) error
	log *slog.Logger

	mu         sync.Mutex
	done, said time.Time // when it was last tried, and logged
}

// NewRepairs repairs by do, such as [Provision], every five seconds at most. It logs
// once a minute.
func NewRepairs(do func(ctx context.Context) error, log *slog.Logger) *Repairs {
	return &Repairs{do: do, log: log}
}

// After repairs what interrupted the fetching from a source, unless that was just
// tried.
func (r *Repairs) After(ctx context.Context, s wire.Source, interruption error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.done) < repairEvery {
		return
	}
	say := time.Since(r.said) >= reportEvery
	if say {
		r.said = time.Now()
		r.log.Warn("fetching mail was interrupted", "lane", s.Lane, "stream", s.Stream, "error", interruption)
	}
	if err := r.do(ctx); err != nil && say && ctx.Err() == nil {
		r.log.Warn("make streams and consumers again", "error", err)
	}
	r.done = time.Now()
}

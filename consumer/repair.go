package consumer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repairs makes streams and consumers that have gone, once for all takers: what
// interrupts one, such as a cluster without a leader, does so to each.
type repairs struct {
	// do is nil where nothing is made.
	do func(ctx context.Context) error

	mu   sync.Mutex
	done time.Time // when it was last tried
	said time.Time // when the log last said so
}

const repairEvery = 5 * time.Second

// after repairs what interrupted a taker, unless that has just been tried.
func (r *repairs) after(ctx context.Context, log *slog.Logger, interruption error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.done) < repairEvery {
		return
	}
	say := time.Since(r.said) >= reportEvery
	if say {
		r.said = time.Now()
		log.Warn("taking mail was interrupted", "error", interruption)
	}
	if r.do != nil {
		if err := r.do(ctx); err != nil && say && ctx.Err() == nil {
			log.Warn("make streams and consumers again", "error", err)
		}
	}
	r.done = time.Now()
}

package smtp

import (
	"context"
	"sync"
	"time"
)

const (
	// recovery is how long it takes to come back to the rate at which the relay asked
	// for less. Beyond it the rate grows ever faster, until it is forgotten.
	recovery   = 30 * time.Second
	forgetPace = 10 * recovery
	// backOff is what of that rate is used at first.
	backOff = 0.9
	// leastRate is in messages a second. If the relay takes less, the circuit opens
	// again and again, and its pause grows.
	leastRate = 1
	// lateReplies come after the first that asked for less, from messages that were
	// sent beside it.
	lateReplies = 500 * time.Millisecond
)

// pace spaces messages while the relay has a limit of messages a second, which it
// finds out: it begins a little below what the relay accepted in the second before it
// asked for less, and grows slowly near that, as CUBIC (RFC 9438) does. Any goroutine
// may use it.
type pace struct {
	mu sync.Mutex
	// base is what the relay accepted in a second; 0 means that it has no known limit.
	base float64
	// most is the rate that was used when base was found.
	most float64
	// cut is when that was, since is when messages were accepted again, or zero.
	cut, since time.Time
	// next is when the next message may begin.
	next time.Time
	// lately are the times of the messages accepted in the last second.
	lately []time.Time
}

// rate is in messages a second; 0 means no limit. The caller holds mu.
func (p *pace) rate(now time.Time) float64 {
	if p.base == 0 || now.Sub(p.cut) > forgetPace {
		p.base = 0
		return 0
	}
	x := 0.0
	if !p.since.IsZero() {
		x = now.Sub(p.since).Seconds() / recovery.Seconds()
	}
	return p.base * (backOff + (1-backOff)*x*x*x)
}

// accepted notes that the relay accepted a message.
func (p *pace) accepted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.forget(now)
	p.lately = append(p.lately, now)
	switch {
	case p.base == 0:
	case now.Sub(p.cut) < lateReplies && p.base < p.most:
		p.base = min(p.base+1, p.most)
	case p.since.IsZero():
		p.since = now
	}
}

// forget drops what is older than a second. The caller holds mu.
func (p *pace) forget(now time.Time) {
	old := 0
	for old < len(p.lately) && now.Sub(p.lately[old]) >= time.Second {
		old++
	}
	p.lately = append(p.lately[:0], p.lately[old:]...)
}

// less notes that the relay asked for less. If it accepted nothing since the last
// time, that says nothing about its rate.
func (p *pace) less() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.forget(now)
	used := p.rate(now)
	if len(p.lately) == 0 || used > 0 && p.since.IsZero() {
		return
	}
	p.base, p.most = float64(len(p.lately)), used
	if used > 0 {
		p.base = min(p.base, used)
	} else {
		p.most = 1e9
	}
	p.base = max(p.base, leastRate)
	p.cut, p.since, p.next = now, time.Time{}, now
}

// unlimited notes that there is no known limit.
func (p *pace) unlimited() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.base = 0
}

// wait waits until the next message may begin. The error is the cause of ctx, or says
// that the relay is down.
func (p *pace) wait(ctx context.Context, down <-chan struct{}) error {
	p.mu.Lock()
	now := time.Now()
	rate := p.rate(now)
	if rate == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.next.Before(now) {
		p.next = now
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(time.Second) / rate))
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-down:
		return errDown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package broker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/stream"
)

// RoomForFresh and RoomForDue are the shares of the store from which on messages
// are fetched one at a time: fresh mail first, for what is due and delivered makes
// room.
const (
	RoomForFresh = 0.75
	RoomForDue   = 0.90
)

// Fill watches how full the store is.
type Fill struct {
	log *slog.Logger
	ask func(ctx context.Context) (used, limit uint64, err error)

	mu          sync.Mutex
	used, limit uint64
	// turned is closed when other mail than before is fetched one at a time.
	turned chan struct{}
}

// NewFill measures with ask, such as [Conn.Room], for the first time now.
func NewFill(ctx context.Context, ask func(ctx context.Context) (used, limit uint64, err error), log *slog.Logger) *Fill {
	f := &Fill{ask: ask, log: log, turned: make(chan struct{})}
	f.Measure(ctx)
	return f
}

// fullness is which mail is fetched one at a time.
type fullness int

const (
	roomy   fullness = iota // none
	filling                 // fresh mail
	crowded                 // all mail
)

// fullnessOf the store. A broker that sets no limit, or does not say, is roomy.
func fullnessOf(used, limit uint64) fullness {
	switch share := float64(used) / float64(max(limit, 1)); {
	case limit > 0 && share >= RoomForDue:
		return crowded
	case limit > 0 && share >= RoomForFresh:
		return filling
	}
	return roomy
}

// Narrow reports that messages must be fetched one at a time, and returns what is
// closed when that may have changed.
func (f *Fill) Narrow(fresh bool) (narrow bool, turned <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := fullnessOf(f.used, f.limit)
	return now == crowded || fresh && now == filling, f.turned
}

// Left is how many bytes may still be stored; 0 also if no limit is known.
func (f *Fill) Left() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limit - min(f.used, f.limit)
}

// set enters a measurement. It returns what is fetched one at a time now, and what
// was before.
func (f *Fill) set(used, limit uint64) (now, before fullness) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, before = fullnessOf(used, limit), fullnessOf(f.used, f.limit)
	f.used, f.limit = used, limit
	if now != before {
		close(f.turned)
		f.turned = make(chan struct{})
	}
	return now, before
}

// Measure asks the broker now, and logs what changes.
func (f *Fill) Measure(ctx context.Context) {
	used, limit, err := f.ask(ctx)
	if err != nil {
		return // what was measured last stays
	}
	log := f.log.With("used_bytes", used, "limit_bytes", limit)
	switch now, before := f.set(used, limit); {
	case now == before:
	case now == crowded:
		log.Warn("the broker's store is nearly full: all mail is fetched one at a time until there is room")
	case now == filling && before == roomy:
		log.Warn("the broker's store is filling up: fresh mail is fetched one at a time until there is room, due mail goes on")
	case now == filling:
		log.Info("the broker's store has some room again: due mail goes on, fresh mail is fetched one at a time")
	default:
		log.Info("the broker's store has room again")
	}
}

// Watch measures every five seconds until ctx ends.
func (f *Fill) Watch(ctx context.Context) {
	for stream.Pause(ctx, 5*time.Second) {
		f.Measure(ctx)
	}
}

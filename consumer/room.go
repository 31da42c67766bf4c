package consumer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// RoomForFresh and RoomForDue are the shares of the room from which on messages
// are fetched one at a time: fresh mail first, for what is due and delivered makes
// room.
const (
	RoomForFresh = 0.75
	RoomForDue   = 0.90
)

// room is how full the broker's store is, as last measured.
type room struct {
	ask func(ctx context.Context) (used, limit uint64, err error)

	mu          sync.Mutex
	used, limit uint64
	// turned is closed when other mail than before is fetched one at a time.
	turned chan struct{}
}

func newRoom(ask func(ctx context.Context) (used, limit uint64, err error)) *room {
	return &room{ask: ask, turned: make(chan struct{})}
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

// narrow reports that messages go one at a time, and returns what is closed when
// that may have changed.
func (r *room) narrow(fresh bool) (narrow bool, turned <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := fullnessOf(r.used, r.limit)
	return f == crowded || fresh && f == filling, r.turned
}

// What a message leaves behind that is deferred or dead-lettered, beside itself:
// its record, its entries in the log, the headers of its copy; 3.2 KB were
// measured. What is left shall hold them for a day, so that somebody can make room.
const (
	keptBytes = 4 << 10
	roomLasts = 24 * time.Hour
	pauseMost = time.Minute
)

// pause is how long nothing is fetched after a message that made no room: the
// longer, the less is left.
func (r *room) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used >= r.limit {
		return pauseMost
	}
	return time.Duration(min(float64(pauseMost), float64(roomLasts)*keptBytes/float64(r.limit-r.used)))
}

// rest pauses after a message that made no room, unless there is room before.
func (r *room) rest(ctx context.Context, fresh bool) {
	over := time.After(r.pause())
	for {
		narrow, turned := r.narrow(fresh)
		if !narrow {
			return
		}
		select {
		case <-over:
			return
		case <-turned:
		case <-ctx.Done():
			return
		}
	}
}

// set enters a measurement. It returns what is fetched one at a time now, and what
// was before.
func (r *room) set(used, limit uint64) (now, before fullness) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, before = fullnessOf(used, limit), fullnessOf(r.used, r.limit)
	r.used, r.limit = used, limit
	if now != before {
		close(r.turned)
		r.turned = make(chan struct{})
	}
	return now, before
}

// measure asks the broker, and logs what changes.
func (r *room) measure(ctx context.Context, log *slog.Logger) {
	used, limit, err := r.ask(ctx)
	if err != nil {
		return // what was measured last stays
	}
	log = log.With("used_bytes", used, "limit_bytes", limit)
	switch now, before := r.set(used, limit); {
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

// watch measures every five seconds until ctx ends.
func (r *room) watch(ctx context.Context, log *slog.Logger) {
	for sleep(ctx, 5*time.Second) == nil {
		r.measure(ctx, log)
	}
}

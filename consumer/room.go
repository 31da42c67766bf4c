package consumer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// RoomForFresh and RoomForDue are the shares of the room from which on messages
// are taken one at a time: fresh mail first, for what is due and delivered makes
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
	// turned is closed when other mail than before is taken one at a time.
	turned chan struct{}
}

func newRoom(ask func(ctx context.Context) (used, limit uint64, err error)) *room {
	return &room{ask: ask, turned: make(chan struct{})}
}

// fullness is what is taken one at a time.
type fullness int

const (
	roomy   fullness = iota // nothing
	filling                 // fresh mail
	crowded                 // all mail
)

// measureEvery is how often the broker is asked.
const measureEvery = 5 * time.Second

// fullness of the store. A broker that sets no limit, or does not say, is roomy.
func fullnessOf(used, limit uint64) fullness {
	switch share := float64(used) / float64(max(limit, 1)); {
	case limit > 0 && share >= RoomForDue:
		return crowded
	case limit > 0 && share >= RoomForFresh:
		return filling
	}
	return roomy
}

// narrow reports that messages go one at a time, and gives what is closed when
// that may have changed.
func (r *room) narrow(fresh bool) (narrow bool, turned <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := fullnessOf(r.used, r.limit)
	return f == crowded || fresh && f == filling, r.turned
}

// What a message leaves behind that is deferred or dies, beside itself: its
// record, its entries in the log, the headers of its copy; 3.2 KB were measured.
// The room that is left shall take them for a day, so that somebody can make more.
const (
	keptBytes = 4 << 10
	roomLasts = 24 * time.Hour
	pauseMost = time.Minute
)

// pause is how long nothing is taken after a message that made no room: the
// longer, the less is left.
func (r *room) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := float64(r.limit) - float64(r.used)
	if left <= 0 {
		return pauseMost
	}
	return time.Duration(min(float64(pauseMost), float64(roomLasts)*keptBytes/left))
}

// set takes note of a measurement. It gives what is taken one at a time now, and
// what was before.
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

// measure asks the broker, and says what changes.
func (r *room) measure(ctx context.Context, log *slog.Logger) {
	used, limit, err := r.ask(ctx)
	if err != nil {
		return // what was measured last holds on
	}
	log = log.With("used_bytes", used, "limit_bytes", limit)
	switch now, before := r.set(used, limit); {
	case now == before:
	case now == crowded:
		log.Warn("the broker's store is nearly full: all mail is taken one at a time until there is room")
	case now == filling && before == roomy:
		log.Warn("the broker's store is filling up: fresh mail is taken one at a time until there is room, due mail goes on")
	case now == filling:
		log.Info("the broker's store has some room again: due mail goes on, fresh mail is taken one at a time")
	default:
		log.Info("the broker's store has room again")
	}
}

// watch keeps an eye on the room until ctx ends.
func (r *room) watch(ctx context.Context, log *slog.Logger) {
	for sleep(ctx, measureEvery) == nil {
		r.measure(ctx, log)
	}
}

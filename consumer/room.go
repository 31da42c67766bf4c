package consumer

import (
	"context"
	"time"
)

// Room is the room in the broker's store.
type Room interface {
	// Narrow reports that messages must be fetched one at a time, and returns what
	// is closed when that may have changed.
	Narrow(fresh bool) (narrow bool, turned <-chan struct{})
	// Left is how many bytes may still be stored.
	Left() uint64
	// Watch measures until ctx ends.
	Watch(ctx context.Context)
}

const (
	// keptBytes is what a deferred or dead-lettered message adds to the store: its
	// record, its entries in the log, the headers of its copy; 3.2 KB were measured.
	keptBytes = 4 << 10
	// roomLasts is how long the rest of the store must last, so that somebody can make
	// room.
	roomLasts = 24 * time.Hour
	pauseMost = time.Minute
)

// pause is how long nothing is fetched after a message that made no room: the
// longer, the less is left.
func pause(left uint64) time.Duration {
	return time.Duration(min(float64(pauseMost), float64(roomLasts)*keptBytes/float64(max(left, 1))))
}

// rest pauses after a message that made no room, unless there is room before.
func (f *fetcher) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pause(f.Room.Left()))
	defer cancel()
	f.whileNarrow(ctx, func() bool { return false })
}

// waitUntilAlone returns true once nothing of the source is in flight, false as soon as more
// than one message may be.
func (f *fetcher) waitUntilAlone(ctx context.Context) bool {
	return f.whileNarrow(ctx, func() bool { return f.inFlight.Load() == 0 })
}

// whileNarrow waits while there is little room, until done returns true: it is asked at
// first and after each delivery that ends. It returns false if there is room or ctx ends.
func (f *fetcher) whileNarrow(ctx context.Context, done func() bool) bool {
	for {
		narrow, turned := f.Room.Narrow(f.Fresh)
		if !narrow || ctx.Err() != nil {
			return false
		}
		if done() {
			return true
		}
		select {
		case <-f.ended:
		case <-turned:
		case <-ctx.Done():
		}
	}
}

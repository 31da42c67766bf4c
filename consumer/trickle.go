package consumer

import (
	"context"
	"time"
)

// trickle lets a source's messages through one at a time while so much is
// stored that only what makes room may go: each one that was delivered does. It
// never closes for good, for what is to make room may be the very mail that
// waits: dead letters, and mail for another day, stay for long.
type trickle struct {
	token chan struct{}
	// pause follows a message that made no room; its owner has the token.
	pause time.Duration
}

func newTrickle() *trickle { return &trickle{token: make(chan struct{}, 1)} }

// These bound the pause, which doubles.
const (
	tricklePauseMin = time.Second
	tricklePauseMax = time.Minute
)

// enter waits until no other message of the source is on its way.
func (t *trickle) enter(ctx context.Context) error {
	select {
	case t.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave lets the next one in, after a pause where this one made no room.
func (t *trickle) leave(ctx context.Context, freed bool) {
	if freed {
		t.pause = 0
	} else {
		t.pause = min(max(2*t.pause, tricklePauseMin), tricklePauseMax)
		_ = sleep(ctx, t.pause)
	}
	<-t.token
}

// pass lets the next one in where nothing was taken.
func (t *trickle) pass() { <-t.token }

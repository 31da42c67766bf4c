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
	room  *room
	fresh bool
	token chan struct{}
}

func newTrickle(r *room, fresh bool) *trickle {
	return &trickle{room: r, fresh: fresh, token: make(chan struct{}, 1)}
}

// enter waits until no other message of the source is on its way. It reports
// false where there is room for many at a time.
func (t *trickle) enter(ctx context.Context) (alone bool, err error) {
	for {
		narrow, turned := t.room.narrow(t.fresh)
		if !narrow {
			return false, nil
		}
		select {
		case t.token <- struct{}{}:
			return true, nil
		case <-turned:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// leave lets the next one in; where this one went on as a copy, so that it made
// no room, after a pause, unless there is room before.
func (t *trickle) leave(ctx context.Context, copied bool) {
	if copied {
		t.rest(ctx)
	}
	<-t.token
}

func (t *trickle) rest(ctx context.Context) {
	over := time.NewTimer(t.room.pause())
	defer over.Stop()
	for {
		narrow, turned := t.room.narrow(t.fresh)
		if !narrow {
			return
		}
		select {
		case <-over.C:
			return
		case <-turned:
		case <-ctx.Done():
			return
		}
	}
}

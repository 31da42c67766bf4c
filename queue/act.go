package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
)

// Act is what an operator does to one dead letter. refused says why it was not done:
// the dead letter has moved on, or may not be replayed again. Doing it again changes
// nothing.
type Act func(ctx context.Context, l *deadletter.Found) (refused, err error)

// Replay sends a dead letter again, to its dead recipients, with a new budget of
// attempts; each at most so many times.
func (q *Queue) Replay(maxReplays int) Act {
	return func(ctx context.Context, l *deadletter.Found) (refused, err error) {
		return refusal(q.dead.Replay(ctx, l, maxReplays))
	}
}

// Discard gives a dead letter up for good.
func (q *Queue) Discard() Act {
	return func(ctx context.Context, l *deadletter.Found) (refused, err error) {
		return refusal(q.dead.Discard(ctx, l))
	}
}

// refusal tells what refuses an act from what fails it.
func refusal(err error) (refused, failed error) {
	for _, why := range []error{deadletter.ErrSettled, deadletter.ErrTooOften, deadletter.ErrSameBytes, deadletter.ErrReplaying} {
		if errors.Is(err, why) {
			return err, nil
		}
	}
	return nil, err
}

// NoneError says that no dead letter has the id.
type NoneError struct{ ID string }

// Error implements error.
func (e *NoneError) Error() string { return fmt.Sprintf("no dead letter matches %s", mail.Quote(e.ID)) }

// Selection is the dead letters that an act is for: those of the ids, if there are
// any, or else those that the filter selects. An id may be an origin too.
type Selection struct {
	IDs    []string
	Filter deadletter.Filter
}

// Select yields the dead letters of the selection, and a [NoneError] for each id that
// has none. Any other error ends the reading of that id, or of all.
func (q *Queue) Select(ctx context.Context, s Selection) iter.Seq2[*deadletter.Found, error] {
	if len(s.IDs) == 0 {
		return q.dead.All(ctx, s.Filter)
	}
	return func(yield func(*deadletter.Found, error) bool) {
		for _, id := range s.IDs {
			found := false
			for l, err := range q.dead.ByID(ctx, id) {
				found = true
				if !yield(l, err) {
					return
				}
			}
			if !found && !yield(nil, &NoneError{id}) {
				return
			}
		}
	}
}

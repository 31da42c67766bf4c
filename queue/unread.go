package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// The counts of a stream and of its consumer are not of one moment. Only what is
	// left over at each of unreadLooks is believed.
	unreadLooks = 3
	unreadPause = 500 * time.Millisecond
)

// unread counts the messages of a lane that no consumer will hand out and that are not
// scheduled: the store cannot read them, or they are out of deliveries.
func unread(ctx context.Context, q *Queue, lane wire.Lane) (uint64, error) {
	least := uint64(0)
	for look := range unreadLooks {
		n, err := leftOver(ctx, q, lane)
		if err != nil {
			return 0, err
		}
		if look == 0 || n < least {
			least = n
		}
		if least == 0 || look == unreadLooks-1 {
			break
		}
		if !stream.Pause(ctx, unreadPause) {
			return 0, ctx.Err()
		}
	}
	return least, nil
}

// leftOver is one look. A stream is read before and after its consumer: what comes or
// goes meanwhile is in one of both only.
func leftOver(ctx context.Context, q *Queue, lane wire.Lane) (sum uint64, err error) {
	for _, s := range lane.Sources() {
		before, err := q.stream(ctx, s.Stream)
		if err != nil {
			return 0, err
		}
		c, err := q.consumer(ctx, s)
		if err != nil {
			return 0, err
		}
		after, err := q.stream(ctx, s.Stream)
		if err != nil {
			return 0, err
		}
		known := c.NumPending + uint64(c.NumAckPending)
		later, err := laneStream{after, s.Fresh, known}.scheduled(ctx, lane)
		if err != nil {
			return 0, err
		}
		known += later
		stored := min(before.CachedInfo().State.Msgs, after.CachedInfo().State.Msgs)
		sum += stored - min(stored, known)
	}
	return sum, nil
}

// JudgeUnread is the finding about messages that no consumer hands out; nothing if
// there are none.
func (l *Lane) JudgeUnread() []Finding {
	if l.Unread == 0 {
		return nil
	}
	return []Finding{{
		Level: Problem, Check: "unread", At: string(l.Lane),
		Found: fmt.Sprintf("%s neither waiting, in flight nor scheduled: out of deliveries, or the broker cannot read them", Counted(l.Unread, "message")),
		Do:    "a worker settles what is out of deliveries within a minute (POSTRIDER_SWEEP_INTERVAL); if it stays so, the store is damaged: see docs/troubleshooting.md, The store lost files",
	}}
}

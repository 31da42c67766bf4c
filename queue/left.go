package queue

import (
	"context"
	"slices"
	"time"

	"github.com/postrider/postrider/wire"
)

// What a worker had in flight when it was killed comes again when ack wait is over. Until
// then nothing happens to it.

// ackWait is after what time without a word of a worker its messages go to another one.
func (w *Worker) ackWait() time.Duration { return time.Duration(w.AckWaitMS) * time.Millisecond }

// returns is when what a lost worker had in flight has come again, or what was in flight
// when a running one started; zero if nothing was. A lease may be renewed until the next
// word would have been due.
func (w *Worker) returns() time.Time {
	switch {
	case w.AckWaitMS == 0, !w.Lost && w.Found == 0:
		return time.Time{}
	case w.Lost:
		return w.At.Add(announceEvery + w.ackWait())
	}
	return w.Started.Add(w.ackWait())
}

// left says of what is in flight, as far as this worker goes, when it comes again; empty
// if nothing waits for that.
func (w *Worker) left(now time.Time) string {
	until := w.returns()
	if !until.After(now) {
		return ""
	}
	again := "again within " + Span(max(until.Sub(now), time.Second)) + " (ack wait)"
	switch {
	case w.Lost:
		return "what worker " + w.Host + " had in flight comes " + again
	case w.Found == 1:
		return "1 message was in flight when " + w.Host + " started, taken by a worker that ended: it comes " + again
	}
	return Thousands(w.Found) + " messages were in flight when " + w.Host + " started, taken by a worker that ended: they come " + again
}

// left is the first of what [Worker.left] says of workers of the lane.
func (w *Workers) left(lane wire.Lane, now time.Time) string {
	for _, x := range w.only(func(x *Worker) bool { return slices.Contains(x.Lanes, lane) }) {
		if s := x.left(now); s != "" {
			return s
		}
	}
	return ""
}

// since is when the first of the workers of the lane that run was started; zero for none.
func (w *Workers) since(lane wire.Lane) (first time.Time) {
	for _, x := range w.of(lane) {
		if first.IsZero() || x.Started.Before(first) {
			first = x.Started
		}
	}
	return first
}

// inFlight reports that lanes of the worker have messages in flight.
func (w *Worker) inFlight(lanes []Lane) bool {
	return slices.ContainsFunc(lanes, func(l Lane) bool { return l.InFlight > 0 && slices.Contains(w.Lanes, l.Lane) })
}

// Left counts the messages of those lanes that are in flight although no worker runs: those
// that took them were killed. It is for a worker that starts. killed: it knows of such
// workers whose words are not at the broker any more. One that stopped in good order left
// nothing in flight, but what it gave back with a pause counts there for that long.
func (q *Queue) Left(ctx context.Context, lanes []wire.Lane, killed bool) (n uint64, err error) {
	workers := q.Workers(ctx)
	lost := func(w *Worker) bool { return w.Lost }
	running := func(w *Worker) bool { return !w.Lost }
	if workers.Unread != "" || len(workers.only(running)) > 0 || !killed && len(workers.only(lost)) == 0 {
		return 0, nil
	}
	for _, lane := range lanes {
		for _, s := range lane.Sources() {
			c, err := q.consumer(ctx, s)
			if err != nil {
				return 0, err
			}
			n += uint64(c.NumAckPending)
		}
	}
	return n, nil
}

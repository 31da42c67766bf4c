package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Status is the state of the whole queue.
type Status struct {
	At    time.Time `json:"at"`
	Lanes []Lane    `json:"lanes"`
	Room
	// Dead is shown by lane, in Lanes.
	Dead    DeadLetters `json:",embed"`
	Workers Workers     `json:",embed"`
}

// Room is the store of the broker, in bytes. A limit of 0 means none.
type Room struct {
	Used  uint64 `json:"used_bytes"`
	Limit uint64 `json:"limit_bytes,omitzero"`
}

// Lane is the state of a lane.
type Lane struct {
	Lane wire.Lane `json:"lane"`
	// Waiting is fresh mail that no worker has taken, Due counts copies that are
	// due and not taken, InFlight what workers have taken and not settled,
	// Scheduled the copies that are not due yet, and Dead the dead letters without
	// tombstones.
	Waiting   uint64 `json:"waiting"`
	Due       uint64 `json:"due"`
	InFlight  uint64 `json:"in_flight"`
	Scheduled uint64 `json:"scheduled"`
	Dead      uint64 `json:"dead"`
	// Unread counts the messages that no consumer hands out although they are not
	// scheduled.
	Unread uint64 `json:"unread,omitzero"`
	// Oldest is since when the oldest message has been ready to be sent: accepted
	// or due, and not settled. It is zero if nothing is ready.
	Oldest time.Time `json:"oldest,omitzero"`
	// Settled is the number of messages settled within the last minute (delivered,
	// deferred or dead-lettered), by the records that the lane's workers wrote.
	Settled uint64 `json:"settled_last_minute"`
	// Rate is the same per second, since they began to write in that minute. It is zero
	// if mail is ready and nothing was settled within the last five seconds.
	Rate float64 `json:"rate"`
	// Empty is when everything that is ready will have been settled at that rate.
	// It is zero if nothing is ready or nothing moves.
	Empty time.Time `json:"empty,omitzero"`
	// Takers are the pulls that wait at the broker for mail of the lane. There are
	// none while all sessions are busy or the relay is down.
	Takers int `json:"takers"`

	// workers are all workers; nil if they were not read.
	workers *Workers
}

// Ready is the number of messages that could be sent now.
func (l *Lane) Ready() uint64 { return l.Waiting + l.Due + l.InFlight }

// taken reports that a worker asks for its mail, whether it says anything of itself or not.
func (l *Lane) taken() bool { return l.Takers > 0 }

// absence says why no worker takes mail of the lane; empty if one does, or may do so.
func (l *Lane) absence() string {
	if l.workers == nil || l.workers.Unread != "" || l.taken() || len(l.workers.of(l.Lane)) > 0 {
		return ""
	}
	return l.workers.absence(l.Lane)
}

// Stands reports that the lane has mail that no worker can send.
func (l *Lane) Stands() bool {
	return l.Ready() > 0 && (l.absence() != "" || l.workers.outage(l.Lane) != nil)
}

// Status counts. It reads what the broker knows of its streams and consumers, and
// the headers of the dead letters; no mail.
func (q *Queue) Status(ctx context.Context) (*Status, error) {
	s := &Status{At: q.now(), Workers: *q.Workers(ctx)}
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range lanes {
		l, err := s.Workers.Lane(ctx, q, name, s.At)
		if err != nil {
			return nil, fmt.Errorf("count lane %s: %w", name, err)
		}
		s.Lanes = append(s.Lanes, *l)
	}
	dead, err := q.DeadLetters(ctx)
	if err != nil {
		return nil, err
	}
	s.addDead(dead)
	s.Used, s.Limit, err = q.room(ctx)
	return s, err
}

// addDead adds the dead letters to their lanes, which may have been removed since.
func (s *Status) addDead(dead *DeadLetters) {
	s.Dead = *dead
	left := maps.Clone(dead.Lanes)
	for i := range s.Lanes {
		s.Lanes[i].Dead = left[s.Lanes[i].Lane]
		delete(left, s.Lanes[i].Lane)
	}
	for _, lane := range slices.Sorted(maps.Keys(left)) {
		s.Lanes = append(s.Lanes, Lane{Lane: lane, Dead: left[lane]})
	}
}

// Lane counts one lane, at that time by the broker's clock. Its dead letters are not
// counted.
func (q *Queue) Lane(ctx context.Context, name wire.Lane, now time.Time) (*Lane, error) {
	return q.Workers(ctx).Lane(ctx, q, name, now)
}

// Lane is [Queue.Lane] for workers that were read already.
func (w *Workers) Lane(ctx context.Context, q *Queue, name wire.Lane, now time.Time) (*Lane, error) {
	l := &Lane{Lane: name, workers: w}
	streams, err := q.ready(ctx, l)
	if err != nil {
		return nil, err
	}
	left := false
	for _, s := range streams {
		n, err := s.scheduled(ctx, l.Lane)
		if err != nil {
			return nil, err
		}
		l.Scheduled += n
		left = left || s.notReady() > n
	}
	if left {
		if l.Unread, err = unread(ctx, q, l.Lane); err != nil {
			return nil, err
		}
	}
	return l, q.rate(ctx, l, now)
}

// laneStream is a stream of a lane, and how many of its messages are ready.
type laneStream struct {
	jetstream.Stream
	fresh bool
	ready uint64
}

// ready fills in what could be sent now, and since when. It returns the streams of
// the lane.
func (q *Queue) ready(ctx context.Context, l *Lane) ([]laneStream, error) {
	var streams []laneStream
	for _, s := range l.Lane.Sources() {
		c, err := q.consumer(ctx, s)
		if err != nil {
			return nil, err
		}
		x, err := q.stream(ctx, s.Stream)
		if err != nil {
			return nil, err
		}
		if s.Fresh {
			l.Waiting += c.NumPending
		} else {
			l.Due += c.NumPending
		}
		l.InFlight += uint64(c.NumAckPending)
		l.Takers += c.NumWaiting
		oldest, err := oldest(ctx, q.store, s, x.CachedInfo().State)
		if err != nil {
			return nil, err
		}
		if l.Oldest.IsZero() || !oldest.IsZero() && oldest.Before(l.Oldest) {
			l.Oldest = oldest
		}
		streams = append(streams, laneStream{x, s.Fresh, c.NumPending + uint64(c.NumAckPending)})
	}
	return streams, nil
}

// oldest is when the oldest message that the source hands out was stored; zero if
// there is none.
func oldest(ctx context.Context, store *stream.Store, s wire.Source, state jetstream.StreamState) (time.Time, error) {
	if s.Filter == wire.Everything {
		if state.Msgs == 0 {
			return time.Time{}, nil
		}
		return state.FirstTime, nil
	}
	first, err := store.Next(ctx, s.Stream, s.Filter, 1, time.Time{})
	if errors.Is(err, stream.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return first.Time, nil
}

// exactUpTo is the number of subjects up to which schedules are counted one by one.
const exactUpTo = 20000

// scheduled counts the copies in the stream that are not due yet. If there are many,
// they are taken to be all that is not ready, which is one request, and may be wrong
// by what moves at that moment.
func (s laneStream) scheduled(ctx context.Context, lane wire.Lane) (uint64, error) {
	switch state := s.CachedInfo().State; {
	case s.fresh:
		return 0, nil
	case state.NumSubjects > exactUpTo:
		return s.notReady(), nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(lane.CopySubjects(wire.CopyLater)))
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", s.CachedInfo().Config.Name, err)
	}
	var n uint64
	for _, messages := range info.State.Subjects {
		n += messages
	}
	return n, nil
}

// notReady is the number of messages that are neither due nor in flight.
func (s laneStream) notReady() uint64 {
	n := s.CachedInfo().State.Msgs
	return n - min(n, s.ready)
}

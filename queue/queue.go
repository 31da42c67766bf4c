// Package queue is the live queue for people: how much is where, how old it is,
// how fast it moves and what is wrong with it; what became of a message and what
// comes next; and what operators do to dead letters. Commands and web pages render
// what it returns.
//
// But for the acts on dead letters it changes nothing.
package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Queue is the queue at one broker. Its methods may be called concurrently.
type Queue struct {
	js    jetstream.JetStream
	store *stream.Store
	now   func() time.Time
	room  func(ctx context.Context) (used, limit uint64, err error)

	log     *journal.Log
	journal *journal.Journal
	dead    *deadletter.Queue
}

// New is the queue at the broker of js. now is the broker's clock. room returns how
// many bytes are stored there and how many may be; a limit of 0 means none.
func New(js jetstream.JetStream, store *stream.Store, now func() time.Time, room func(context.Context) (used, limit uint64, err error)) *Queue {
	j := journal.New(store)
	return &Queue{js: js, store: store, now: now, room: room, log: journal.NewLog(js), journal: j, dead: deadletter.New(store, j, now)}
}

// lanes are those that have a stream to publish to, by name.
func (q *Queue) lanes(ctx context.Context) ([]wire.Lane, error) {
	all := q.js.StreamNames(ctx, jetstream.WithStreamListSubject(sendSubjects))
	var lanes []wire.Lane
	for name := range all.Name() {
		// A stream that is not ours would have stopped the workers.
		if l, ok := wire.LaneOfStream(name); ok && !slices.Contains(lanes, l) {
			lanes = append(lanes, l)
		}
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list the lanes: %w", err)
	}
	slices.Sort(lanes)
	return lanes, nil
}

// sendSubjects matches the subjects of all lanes that producers publish to.
const sendSubjects = "mail.send.>"

// source is a source of a lane, and what the broker says of its consumer.
type source struct {
	wire.Source
	consumer *jetstream.ConsumerInfo
}

// sources are those of the lane that are fresh, or those that are not.
func (q *Queue) sources(ctx context.Context, lane wire.Lane, fresh bool) ([]source, error) {
	var all []source
	for _, s := range lane.Sources() {
		if s.Fresh != fresh {
			continue
		}
		c, err := q.consumer(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, source{s, c})
	}
	return all, nil
}

// gather is what find finds in the sources of all lanes that are fresh, or in those
// that are not.
func (q *Queue) gather(ctx context.Context, fresh bool, find func(source) ([]*Message, error)) ([]*Message, error) {
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Message
	for _, lane := range lanes {
		sources, err := q.sources(ctx, lane, fresh)
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			found, err := find(s)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

func (q *Queue) consumer(ctx context.Context, s wire.Source) (*jetstream.ConsumerInfo, error) {
	c, err := q.js.Consumer(ctx, s.Stream, s.Consumer)
	if err != nil {
		return nil, fmt.Errorf("read consumer %s of %s: %w; a worker makes it when it starts", s.Consumer, s.Stream, stream.Classify(err))
	}
	return c.CachedInfo(), nil
}

func (q *Queue) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := q.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, stream.Classify(err))
	}
	return s, nil
}

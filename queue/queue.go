// Package queue is the live queue as operators see it: how much lies where, how
// old it is, how fast it moves, and what of a message has not been settled yet.
// It reads and changes nothing.
package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/journal"
)

// Queue is the queue at one broker. Its methods may be called concurrently.
type Queue struct {
	js    jetstream.JetStream
	store journal.Store
	now   func() time.Time
	room  func(ctx context.Context) (used, limit uint64, err error)

	log     *journal.Log
	journal *journal.Journal
}

// New is the queue at the broker of js. now is the broker's clock; room is how
// many bytes are stored there and how many may be, a limit of 0 being none.
func New(js jetstream.JetStream, store journal.Store, now func() time.Time, room func(context.Context) (used, limit uint64, err error)) *Queue {
	return &Queue{js: js, store: store, now: now, room: room, log: journal.NewLog(js), journal: journal.New(store)}
}

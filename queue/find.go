package queue

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// State is where a message of the queue is.
type State string

// The places.
const (
	// Waiting: no worker has taken it.
	Waiting State = "waiting"
	// Taken: a worker has it in flight, or handed it back a moment ago.
	Taken State = "taken"
	// Scheduled: its time is still to come.
	Scheduled State = "scheduled"
	// Due: its time has come.
	Due State = "due"
)

// Message is one message of the queue, as producers published it or as a copy
// of ours.
type Message struct {
	wire.Copy
	State State
	// Stream and Sequence say where it lies, Stored since when.
	Stream   string
	Sequence uint64
	Stored   time.Time
	// At is when a scheduled one is due.
	At time.Time
	// Before is how many lie before it in its lane, at most; for one that waits.
	Before uint64
	Size   int
	// Envelope is nil where Bad says what is wrong with it.
	Envelope *schema.Envelope
	Bad      error
}

// readers is how many requests are under way while a lane is searched.
const readers = 64

// Copies are the scheduled and due copies of a message, by its id or origin.
func (q *Queue) Copies(ctx context.Context, id string) ([]*Message, error) {
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Message
	for _, l := range lanes {
		due, err := q.consumer(ctx, l.Lane.LaterStream(), wire.ConsumerDue)
		if err != nil {
			return nil, err
		}
		for _, tail := range wire.KeyTails(id) {
			some, err := q.copies(ctx, l.Lane, due, id, tail)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

func (q *Queue) copies(ctx context.Context, lane wire.Lane, due *jetstream.ConsumerInfo, id string, tail wire.KeyTail) (all []*Message, err error) {
	for m, err := range stream.All(ctx, q.store, lane.LaterStream(), "mail.copy."+string(lane)+".*."+tail.Filter, stream.Range{}) {
		if err != nil {
			return nil, err
		}
		if !tail.Has(m.Subject) {
			continue
		}
		if x := readCopy(lane, m, due); x.Key.ID == id || x.Key.Origin == id {
			all = append(all, x)
		}
	}
	return all, nil
}

func readCopy(lane wire.Lane, m *jetstream.RawStreamMsg, due *jetstream.ConsumerInfo) *Message {
	x := &Message{Stream: lane.LaterStream(), Sequence: m.Sequence, Stored: m.Time, Size: len(m.Data), State: Due}
	x.Copy, x.Bad = wire.ParseCopy(lane, m.Header)
	x.Envelope, _ = schema.Decode(schema.ProducerHeaders(m.Header), m.Data)
	at, scheduled := wire.ScheduledAt(m.Header)
	switch {
	case scheduled && m.Subject == x.Key.CopySubject(wire.CopyLater):
		x.State, x.At = Scheduled, at
	case m.Sequence <= due.Delivered.Stream:
		x.State = Taken
	}
	return x
}

// Fresh is what a producer published at that place, if it is there still.
func (q *Queue) Fresh(ctx context.Context, lane wire.Lane, seq uint64) (*Message, error) {
	m, err := q.store.Next(ctx, lane.SendStream(), ">", seq, time.Time{})
	if err != nil {
		return nil, err
	}
	if m.Sequence != seq {
		return nil, stream.ErrNotFound
	}
	fresh, err := q.consumer(ctx, lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		return nil, err
	}
	return readFresh(lane, m, fresh), nil
}

// FreshByOrigin is what a producer published, by its origin, if it has not
// been settled.
func (q *Queue) FreshByOrigin(ctx context.Context, origin string) (*Message, error) {
	_, s, _ := strings.Cut(origin, "-")
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, stream.ErrNotFound
	}
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range lanes {
		m, err := q.Fresh(ctx, l.Lane, seq)
		if err == nil && m.Key.Origin == origin {
			return m, nil
		}
		if err != nil && !errors.Is(err, stream.ErrNotFound) {
			return nil, err
		}
	}
	return nil, stream.ErrNotFound
}

// readFresh reads a message as a worker would.
func readFresh(lane wire.Lane, m *jetstream.RawStreamMsg, fresh *jetstream.ConsumerInfo) *Message {
	x := &Message{Stream: lane.SendStream(), Sequence: m.Sequence, Stored: m.Time, Size: len(m.Data), State: Taken}
	origin := wire.Origin(m.Time, m.Sequence)
	x.Copy = wire.Copy{Key: wire.Key{Lane: lane, ID: origin, Origin: origin, Recipient: wire.All}, Enqueued: m.Time}
	if id := msgID(m.Header); id != "" && schema.ValidateID(id) == nil {
		x.Key.ID = id
	}
	x.Envelope, x.Bad = schema.Decode(m.Header, m.Data)
	if x.Envelope != nil && x.Envelope.ID != "" {
		x.Key.ID = x.Envelope.ID
	}
	if m.Sequence > fresh.Delivered.Stream {
		x.State = Waiting
		x.Before = min(fresh.NumPending, m.Sequence-fresh.Delivered.Stream) - 1
	}
	return x
}

// msgID is the producer's Nats-Msg-Id: header names are compared without case.
func msgID(header map[string][]string) string {
	for name, v := range header {
		if len(v) > 0 && strings.EqualFold(name, schema.HeaderMsgID) {
			return v[0]
		}
	}
	return ""
}

// Unsettled is how many messages [Queue.Search] would read.
func (q *Queue) Unsettled(ctx context.Context) (uint64, error) {
	var n uint64
	all := q.js.ListStreams(ctx, jetstream.WithStreamListSubject("mail.send.>"))
	for info := range all.Info() {
		n += info.State.Msgs
	}
	return n, all.Err()
}

// Search reads what producers published and nobody has settled, for those of
// that id: such mail has no entry anywhere yet. read is told of each message
// that was read; it is called by one goroutine at a time.
func (q *Queue) Search(ctx context.Context, id string, read func()) ([]*Message, error) {
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Message
	for _, l := range lanes {
		found, err := q.searchLane(ctx, l.Lane, id, read)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// searchLane reads a lane in parts, side by side: the broker lets nobody but
// the workers' own consumer read a work queue in one go.
func (q *Queue) searchLane(ctx context.Context, lane wire.Lane, id string, read func()) ([]*Message, error) {
	s, err := q.js.Stream(ctx, lane.SendStream())
	if err != nil {
		return nil, err
	}
	fresh, err := q.consumer(ctx, lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		return nil, err
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var found []*Message
	see := func(m *jetstream.RawStreamMsg) {
		mu.Lock()
		defer mu.Unlock()
		read()
		if mayBe(m, id) {
			if x := readFresh(lane, m, fresh); x.Key.ID == id {
				found = append(found, x)
			}
		}
	}
	const part = 64
	var next atomic.Uint64
	next.Store(state.FirstSeq)
	var tasks sync.WaitGroup
	for range readers {
		tasks.Go(func() {
			for {
				first := next.Add(part) - part
				if first > state.LastSeq {
					return
				}
				if err := q.readPart(ctx, lane, first, min(first+part-1, state.LastSeq), see); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	tasks.Wait()
	slices.SortFunc(found, func(a, b *Message) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	return found, context.Cause(ctx)
}

func (q *Queue) readPart(ctx context.Context, lane wire.Lane, first, last uint64, see func(*jetstream.RawStreamMsg)) error {
	for m, err := range stream.All(ctx, q.store, lane.SendStream(), ">", stream.Range{From: first, Through: last}) {
		if err != nil {
			return err
		}
		see(m)
	}
	return nil
}

// mayBe saves the reading of nearly all: an id that needs no escapes stands in
// the body as it is, or in the header.
func mayBe(m *jetstream.RawStreamMsg, id string) bool {
	plain := mail.Token(id) == id
	return !plain || msgID(m.Header) == id || bytes.Contains(m.Data, []byte(id))
}

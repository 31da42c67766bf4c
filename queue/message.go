package queue

import (
	"cmp"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// State is where a message is in the queue.
type State string

// The states.
const (
	// Waiting: no worker has taken it.
	Waiting State = "waiting"
	// InFlight: a worker has taken it, or requeued it a moment ago.
	InFlight State = "in_flight"
	// Scheduled: it is not due yet.
	Scheduled State = "scheduled"
	// Due: it is due, and no worker has taken it.
	Due State = "due"
)

// Message is a message in the queue, as a producer published it or as a copy of
// ours.
type Message struct {
	wire.Copy
	State State
	// Stream and Sequence are where it is, Stored is since when.
	Stream   string
	Sequence uint64
	Stored   time.Time
	// At is when a scheduled one is due.
	At time.Time
	// Before is how many messages of its stream come before it, at most; for one
	// that waits.
	Before uint64
	Size   int
	// Envelope is nil if Bad says what is wrong with it.
	Envelope *schema.Envelope
	Bad      error
}

// readCopy reads a copy.
func (s source) readCopy(m *jetstream.RawStreamMsg) *Message {
	x := &Message{Stream: s.Stream, Sequence: m.Sequence, Stored: m.Time, Size: len(m.Data), State: Due}
	x.Copy, x.Bad = wire.ParseCopy(s.Lane, m.Header)
	x.Envelope, _ = schema.Decode(schema.ProducerHeaders(m.Header), m.Data)
	at, scheduled := wire.ScheduledAt(m.Header)
	switch {
	case scheduled && m.Subject == x.Key.CopySubject(wire.CopyLater):
		x.State, x.At = Scheduled, at
	case m.Sequence <= s.consumer.Delivered.Stream:
		x.State = InFlight
	}
	return x
}

// readFresh reads fresh mail as a worker would.
func (s source) readFresh(m *jetstream.RawStreamMsg) *Message {
	x := &Message{Stream: s.Stream, Sequence: m.Sequence, Stored: m.Time, Size: len(m.Data), State: InFlight}
	origin := wire.Origin(m.Time, m.Sequence)
	x.Copy = wire.Copy{Key: wire.Key{Lane: s.Lane, ID: origin, Origin: origin, Recipient: wire.All}, Enqueued: m.Time}
	x.Envelope, x.Bad = schema.Decode(m.Header, m.Data)
	known := x.Envelope
	if known == nil {
		known = schema.Salvage(m.Header, m.Data)
	}
	x.Key.ID = cmp.Or(known.ID, schema.HeaderID(m.Header), origin)
	if taken := s.consumer.Delivered.Stream; m.Sequence > taken {
		x.State = Waiting
		x.Before = min(s.consumer.NumPending, m.Sequence-taken) - 1
	}
	return x
}

package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// MaxBatch is the number of messages that a batch may have (the server's limit).
const MaxBatch = 1000

// Headers of an atomic batch (NATS ADR-50).
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
)

// Write is one message of a batch and, if Filter is not empty, its condition:
// the last message on Filter has the sequence Expected; 0 stands for no message.
type Write struct {
	Msg      *nats.Msg
	Filter   string
	Expected uint64
}

// Batch publishes messages to one stream so that all of them are stored or none.
// The stream must have AllowAtomicPublish. The messages get sequences without a
// gap, in their order; first is that of the first one. They are not changed.
//
// Conditions are checked against what is stored, not against earlier messages of
// the batch: so no two messages with a condition may have one subject or one
// filter.
//
// It is sent once, and fails with
//
//   - [ErrConflict]: a condition does not hold. It is not known which one;
//   - [ErrFull], [ErrTooLarge]: at least one message does not fit;
//   - [ErrBatch]: the batch was refused for another reason, such as too many
//     open batches, a write in flight on replicas (10164), a message that did
//     not arrive (10176), or a Nats-Msg-Id that the stream has already;
//   - [ErrAway]: no answer came.
//
// Nothing is stored but after [ErrAway], when all or nothing is: read before
// writing again. After the others write the messages one by one, which says what
// is wrong with each.
func (s *Store) Batch(ctx context.Context, writes []Write) (first uint64, err error) {
	msgs, err := s.prepare(writes)
	if err != nil || len(msgs) == 0 {
		return 0, err
	}
	if len(msgs) == 1 {
		ack, err := s.publish(ctx, msgs[0])
		if err != nil {
			return 0, fmt.Errorf("write %s: %w", msgs[0].Subject, err)
		}
		return ack.Sequence, nil
	}
	first, err = s.sendBatch(ctx, msgs)
	if err != nil {
		return 0, fmt.Errorf("write a batch of %d messages, the first on %s: %w", len(msgs), msgs[0].Subject, err)
	}
	return first, nil
}

// prepare copies the messages, with their conditions and their places in the
// batch. What the server would refuse in any case is an error here, so that no
// batch is left open there.
func (s *Store) prepare(writes []Write) ([]*nats.Msg, error) {
	if len(writes) > MaxBatch {
		return nil, fmt.Errorf("write a batch: %w: it has %d messages, the most are %d", ErrBatch, len(writes), MaxBatch)
	}
	id, msgs, seen := rand.Text(), make([]*nats.Msg, len(writes)), map[string]bool{}
	for i, w := range writes {
		m := copyOf(w.Msg)
		if w.Filter != "" {
			m = expecting(m, w.Filter, w.Expected)
			if seen["on "+m.Subject] || seen["if "+w.Filter] {
				return nil, fmt.Errorf("write a batch: %w: two of its messages have a condition and are on %s", ErrBatch, m.Subject)
			}
			seen["on "+m.Subject], seen["if "+w.Filter] = true, true
		}
		if len(writes) > 1 {
			m.Header.Set(headerBatchID, id)
			m.Header.Set(headerBatchSequence, strconv.Itoa(i+1))
			if i == len(writes)-1 {
				m.Header.Set(headerBatchCommit, "1")
			}
		}
		if size := m.Size() - len(m.Subject); int64(size) > s.nc.MaxPayload() {
			return nil, fmt.Errorf("write a batch: %w: %s has %d bytes, the most are %d", ErrTooLarge, m.Subject, size, s.nc.MaxPayload())
		}
		msgs[i] = m
	}
	return msgs, nil
}

// sendBatch sends all messages without waiting; the last one is the commit and
// gets the answer for all.
func (s *Store) sendBatch(ctx context.Context, msgs []*nats.Msg) (first uint64, err error) {
	if !s.nc.IsConnected() {
		return 0, unanswered(nats.ErrDisconnected)
	}
	reconnects := s.nc.Stats().Reconnects
	commit := msgs[len(msgs)-1]
	for _, m := range msgs[:len(msgs)-1] {
		if err := s.nc.PublishMsg(m); err != nil {
			return 0, unanswered(err)
		}
	}
	// What was lost with a connection the client may have kept in its buffer: a
	// commit behind it would be a late write.
	if s.nc.Stats().Reconnects != reconnects {
		return 0, unanswered(nats.ErrDisconnected)
	}
	ack, err := s.publish(ctx, commit)
	if err != nil {
		return 0, batchError(err)
	}
	if ack.Batch != commit.Header.Get(headerBatchID) || ack.Count != len(msgs) {
		return 0, fmt.Errorf("the answer acknowledges %d messages of batch %q: something other than a stream listens on %s", ack.Count, ack.Batch, commit.Subject)
	}
	return ack.Sequence - uint64(len(msgs)) + 1, nil
}

// batchError is the class of a refused commit. [codeSequenceReplica] is no
// conflict here: it is also said of writes that are only in flight.
func batchError(err error) error {
	refusal, ok := errors.AsType[*APIError](err)
	if !ok {
		return err
	}
	if refusal.Code == codeSequenceReplica || classOf(refusal.Code) == nil {
		return fmt.Errorf("%w: %s (error %d)", ErrBatch, refusal.Description, refusal.Code)
	}
	return err
}

package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Ack says that a message is stored, and where.
type Ack struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"seq"`
	// Duplicate: the stream already had a message with that Nats-Msg-Id. That
	// one was kept, and Sequence is its own.
	Duplicate bool `json:"duplicate"`
}

// Publish publishes a message once and waits until it is stored. It fails with
// [ErrFull], [ErrTooLarge], [ErrAway] or, if the message has an expectation,
// [ErrConflict].
func (s *Store) Publish(ctx context.Context, m *nats.Msg) (Ack, error) {
	r, err := s.publish(ctx, m)
	return r.Ack, err
}

// pubAck is JetStream's answer to a publish.
type pubAck struct {
	Ack
	// Batch and Count are set if the message ended a batch.
	Batch string    `json:"batch"`
	Count int       `json:"count"`
	Error *APIError `json:"error"`
}

func (s *Store) publish(ctx context.Context, m *nats.Msg) (r pubAck, err error) {
	b, err := s.Request(ctx, m)
	if err != nil {
		return pubAck{}, err
	}
	if err := json.Unmarshal(b, &r); err != nil || r.Error == nil && r.Stream == "" {
		// Something other than a stream listens on the subject.
		return pubAck{}, fmt.Errorf("publish to %s: the answer is not an acknowledgement of JetStream", m.Subject)
	}
	if r.Error != nil {
		return pubAck{}, r.Error
	}
	return r, nil
}

// Set publishes m once, if the last message on filter has the expected
// sequence; 0 stands for no message. It returns the sequence of m, and fails
// with [ErrConflict], [ErrFull], [ErrTooLarge] or [ErrAway]. m is not changed.
func (s *Store) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	ack, err := s.publish(ctx, expecting(m, filter, expected))
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", m.Subject, err)
	}
	return ack.Sequence, nil
}

// expecting is a copy of m with the condition of a compare-and-set.
func expecting(m *nats.Msg, filter string, expected uint64) *nats.Msg {
	c := copyOf(m)
	c.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	c.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, filter)
	return c
}

// copyOf is m with headers of its own.
func copyOf(m *nats.Msg) *nats.Msg {
	c := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
	maps.Copy(c.Header, m.Header)
	return c
}

// Delete deletes a message by its sequence. A message that is already gone is no
// error. It fails with [ErrAway] or [ErrNoStream].
func (s *Store) Delete(ctx context.Context, stream string, seq uint64) error {
	// no_erase: to overwrite the message on the disk would be a second write.
	_, err := s.API(ctx, "STREAM.MSG.DELETE."+stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq))
	if _, refused := errors.AsType[*APIError](err); refused {
		// The refusal does not say whether the message was there: ask.
		if _, gone := s.get(ctx, stream, query{Seq: seq}); errors.Is(gone, ErrNotFound) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete message %d of %s: %w", seq, stream, err)
	}
	return nil
}

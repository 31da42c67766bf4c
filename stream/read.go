package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

// Last reads the last message of a stream on a subject, which may have
// wildcards. It fails with [ErrNotFound], [ErrNoStream] or [ErrAway].
func (s *Store) Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := s.get(ctx, stream, query{Last: subject})
	if err != nil {
		return nil, fmt.Errorf("read last message on %s: %w", subject, err)
	}
	return m, nil
}

// Next reads the first message of a stream on a subject, which may have
// wildcards: from that sequence on or, if seq is 0, from that time on. It fails
// with [ErrNotFound], [ErrNoStream] or [ErrAway].
func (s *Store) Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error) {
	q := query{Seq: seq, Next: subject}
	if seq == 0 && !since.IsZero() {
		q.Since = &since
	}
	m, err := s.get(ctx, stream, q)
	if err != nil {
		return nil, fmt.Errorf("read next message on %s: %w", subject, err)
	}
	return m, nil
}

// query is the body of STREAM.MSG.GET.
type query struct {
	Seq   uint64     `json:"seq,omitempty"`
	Last  string     `json:"last_by_subj,omitempty"`
	Next  string     `json:"next_by_subj,omitempty"`
	Since *time.Time `json:"start_time,omitempty"`
}

func (s *Store) get(ctx context.Context, stream string, q query) (*jetstream.RawStreamMsg, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	b, err := s.API(ctx, "STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, err
	}
	return decodeStored(b)
}

// decodeStored reads the answer to STREAM.MSG.GET. A message whose headers
// cannot be read gets a header that says so, so that the caller can read on
// behind it.
func decodeStored(b []byte) (*jetstream.RawStreamMsg, error) {
	var r struct {
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	m := &jetstream.RawStreamMsg{
		Subject: r.Message.Subject, Sequence: r.Message.Sequence, Data: r.Message.Data, Time: r.Message.Time,
	}
	if len(r.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Header)
		if err != nil {
			h = wire.UnreadableHeaders(err)
		}
		m.Header = h
	}
	return m, nil
}

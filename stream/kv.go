package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Keep writes the value of a key of a key-value bucket, whose subject that is. The
// broker removes it after ttl, at least a second, unless it is written again.
func (s *Store) Keep(ctx context.Context, subject string, value []byte, ttl time.Duration) error {
	return s.keep(ctx, subject, value, nats.Header{jetstream.MsgTTLHeader: {ttl.String()}})
}

// droppedFor is how long those who watch a bucket can see that a key was removed.
const droppedFor = time.Minute

// Drop removes a key of a key-value bucket.
func (s *Store) Drop(ctx context.Context, subject string) error {
	return s.keep(ctx, subject, nil, nats.Header{
		"KV-Operation": {"PURGE"}, jetstream.MsgRollup: {jetstream.MsgRollupSubject}, jetstream.MsgTTLHeader: {droppedFor.String()},
	})
}

func (s *Store) keep(ctx context.Context, subject string, value []byte, h nats.Header) error {
	if _, err := s.publish(ctx, &nats.Msg{Subject: subject, Header: h, Data: value}); err != nil {
		return fmt.Errorf("write %s: %w", subject, err)
	}
	return nil
}

// Kept reads the values of those keys of a key-value bucket that the filter matches,
// 1,024 at most. It is one request, which any replica answers. It fails with
// [ErrNoStream] or [ErrAway].
func (s *Store) Kept(ctx context.Context, stream, filter string) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	all, err := s.lastOfEach(ctx, stream, filter)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", filter, stream, err)
	}
	return all, nil
}

// lastOfEach reads the last message on each subject that the filter matches.
func (s *Store) lastOfEach(ctx context.Context, stream, filter string) ([]*jetstream.RawStreamMsg, error) {
	if !s.nc.IsConnected() {
		return nil, unanswered(nats.ErrDisconnected)
	}
	body, err := json.Marshal(map[string][]string{"multi_last": {filter}})
	if err != nil {
		return nil, err
	}
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, unanswered(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := s.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return nil, unanswered(err)
	}
	var all []*jetstream.RawStreamMsg
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nil, fmt.Errorf("%w, or none of its servers answers", ErrNoStream)
		case err != nil:
			return nil, unanswered(err)
		case m.Header.Get("Status") != "":
			return all, ended(m.Header)
		}
		x, err := decodeDirect(m)
		if err != nil {
			return nil, fmt.Errorf("read the broker's answer: %w", err)
		}
		if len(x.Data) > 0 { // else the key was removed
			all = append(all, x)
		}
	}
}

// ended is nil if the header ends a complete answer to DIRECT.GET.
func ended(h nats.Header) error {
	switch status, words := h.Get("Status"), h.Get("Description"); {
	case status == "204", status == "404" && words == "No Results":
		return nil
	default:
		return fmt.Errorf("the broker refused: %s (status %s)", words, status)
	}
}

// decodeDirect reads one message of an answer to DIRECT.GET.
func decodeDirect(m *nats.Msg) (*jetstream.RawStreamMsg, error) {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, err
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, err
	}
	return &jetstream.RawStreamMsg{Subject: m.Header.Get(jetstream.SubjectHeader), Sequence: seq, Header: m.Header, Data: m.Data, Time: at}, nil
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Keep writes the value of a key of a key-value bucket, whose subject that is. The
// broker removes it after ttl, at least a second, unless it is written again.
func (s *Store) Keep(ctx context.Context, subject string, value []byte, ttl time.Duration) error {
	return s.keep(ctx, subject, value, nats.Header{jetstream.MsgTTLHeader: {ttl.String()}})
}

// Outlived reports that the broker should have removed the entry, by its own clock: one
// that was killed does not remove what it recovers (nats-server 2.15.2).
func Outlived(m *jetstream.RawStreamMsg, now time.Time) bool {
	ttl, err := time.ParseDuration(m.Header.Get(jetstream.MsgTTLHeader))
	return err == nil && now.Sub(m.Time) > ttl
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
	sub, err := s.askDirect(stream, map[string]any{"multi_last": []string{filter}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	var all []*jetstream.RawStreamMsg
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nil, fmt.Errorf("%w, or none of its servers answers", ErrNoStream)
		case err != nil:
			return nil, unanswered(err)
		}
		x := decodeDirect(m)
		if x == nil {
			return all, ended(m.Header)
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

package stream

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Reader is what [All] reads from: a [Store], or what a caller puts before it.
type Reader interface {
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
}

// Range is a part of a stream. Its zero value is everything that is there now.
type Range struct {
	// From is the first sequence. If it is 0, the range begins at Since, by the
	// time of storage, or without Since at the beginning of the stream.
	From  uint64
	Since time.Time
	// Through is the last sequence. If it is 0, the range ends with the message
	// that is the last to match when the reading begins: what is written while
	// the reading goes on is not part of it. math.MaxUint64 includes that.
	Through uint64
}

// All yields the messages of a stream on a subject, which may have wildcards, in
// the order of their sequences, one request for each. A message that is deleted
// before its turn is left out.
//
// It ends at the first error, which it yields with a nil message: [ErrAway] or
// [ErrNoStream]. No match is no error.
func All(ctx context.Context, s Reader, stream, subject string, r Range) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for seq, end := r.From, r.Through; ; {
			m, err := s.Next(ctx, stream, subject, seq, r.Since)
			if errors.Is(err, ErrNotFound) {
				return
			}
			if err == nil && end == 0 {
				// Asked only now: without a match, searching for the last one
				// would be the slower of two searches.
				end, err = lastOf(ctx, s, stream, subject)
				end = max(end, m.Sequence)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if m.Sequence > end || !yield(m, nil) || m.Sequence == end {
				return
			}
			seq = m.Sequence + 1
		}
	}
}

// lastOf is the sequence of the last message that matches; 0 if there is none.
func lastOf(ctx context.Context, s Reader, stream, subject string) (uint64, error) {
	m, err := s.Last(ctx, stream, subject)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

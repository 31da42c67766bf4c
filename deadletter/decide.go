package deadletter

import (
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// decide writes an operator's act into the record of the key. act makes the new
// record from the last one. The result is the record that is there in the end:
// the new one, or the one of whoever came first.
func (q *Queue) decide(ctx context.Context, f *Found, act func(*Found, *wire.Record) *wire.Record) (*wire.Record, error) {
	for {
		last, seq, err := q.journal.Lookup(ctx, f.Key)
		if err != nil {
			return nil, err
		}
		if last != nil && settled(last, f) {
			return last, nil
		}
		rec := act(f, last)
		if _, err = q.journal.Set(ctx, rec, seq, false); err == nil {
			return rec, nil
		}
		if !errors.Is(err, stream.ErrConflict) {
			return nil, err
		}
	}
}

// settled reports that an operator or a worker has already decided about this
// generation of the key or a higher one, or that all recipients were delivered.
func settled(last *wire.Record, f *Found) bool {
	return last.Generation >= f.Generation || last.Delivered()
}

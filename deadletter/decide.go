package deadletter

import (
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// decide writes what an operator does into the line's record, made by act from
// the line's last one, and returns what stands there in the end: that, or what
// came first.
func (g *Queue) decide(ctx context.Context, f *Found, act func(*Found, *wire.Record) *wire.Record) (*wire.Record, error) {
	for {
		last, seq, err := g.journal.Lookup(ctx, f.Key)
		if err != nil {
			return nil, err
		}
		if last != nil && settled(last, f) {
			return last, nil
		}
		rec := act(f, last)
		if _, err = g.journal.Set(ctx, rec, seq, false); err == nil {
			return rec, nil
		}
		if !errors.Is(err, stream.ErrConflict) {
			return nil, err
		}
	}
}

// settled reports a line that has come as far as the letter, by an operator or
// by a hand, or all of whose recipients were found to be delivered.
func settled(last *wire.Record, f *Found) bool {
	return last.Generation >= f.Generation || last.Delivered()
}

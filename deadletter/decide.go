package deadletter

import (
	"context"
	"errors"

	"github.com/postrider/postrider/schema"
)

// decide writes what an operator does into the line's record, made by act from
// the line's last one, and returns what stands there in the end: that, or what
// came first.
func (g *Graveyard) decide(ctx context.Context, f *Found, act func(*Found, *schema.Record) *schema.Record) (*schema.Record, error) {
	for {
		last, seq, err := g.journal.Look(ctx, f.Line)
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
		if !errors.Is(err, schema.ErrConflict) {
			return nil, err
		}
	}
}

// settled reports a line that has come as far as the letter, by an operator or
// by a hand, or all of whose recipients were found to be delivered.
func settled(last *schema.Record, f *Found) bool {
	return last.Hop >= f.Hop || last.Delivered()
}

package journal

import (
	"context"
	"errors"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Amend writes an operator's act into the record of k, which has an ID, by
// compare-and-set. change makes the new record of the last one, which it may change and
// return, and which is nil if there is none or it has expired. It returns nil to
// decline, because somebody has decided already; then it leaves the last one as it is.
// If another write came first, change is called again with that one.
//
// The result is the record that is there in the end: the new one, or the one that
// change left as it is; nil if it declined and there is none. The errors are those of
// [Journal.Set] but for [stream.ErrConflict]. After [stream.ErrAway] the record may
// be written; a second call gives it to change, which declines.
//
// Replay and discard rely on the following, and so does every other act on a key
// (cancel, hold, move):
//
//   - The record comes first. What the act makes, moves or removes follows when Amend
//     has returned the record that says so. If the operator's program dies in between,
//     whoever reads the record can finish.
//   - The record has the generation of the copy or dead letter that the act is on; the
//     copy that the act makes is one higher. change declines if the last record has
//     that generation or a higher one, so of all who decide about a generation the
//     first one wins. A worker that has a delivery of that generation either finds the
//     act, or its own Set fails with [stream.ErrConflict].
//   - change keeps the recipients that the last record calls delivered.
//   - nil does not mean that nothing happened. Act only on a copy or a dead letter
//     that was read.
//   - The new record is never brief, so that a late delivery finds it.
func (j *Journal) Amend(ctx context.Context, k wire.Key, change func(last *wire.Record) *wire.Record) (*wire.Record, error) {
	for {
		last, seq, err := j.Lookup(ctx, k)
		if err != nil {
			return nil, err
		}
		rec := change(last)
		if rec == nil {
			return last, nil
		}
		if _, err = j.Set(ctx, k, rec, seq, false); err == nil {
			return rec, nil
		}
		if !errors.Is(err, stream.ErrConflict) {
			return nil, err
		}
	}
}

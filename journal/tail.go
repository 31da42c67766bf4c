package journal

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

// tailPart is how much of the log is read first for its last entries. If they are not
// among it, ten times as much is read.
const tailPart = 1000

// Tail yields the last n of the entries that [Log.Search] would yield and then, with
// follow, new entries as they are written, until ctx ends. With n = 0 it begins now.
func (l *Log) Tail(ctx context.Context, f Filter, n int, follow bool) iter.Seq2[*wire.Record, error] {
	return func(yield func(*wire.Record, error) bool) {
		s, err := l.js.Stream(ctx, wire.StreamEvent)
		if err != nil {
			yield(nil, fmt.Errorf("read the log: %w", err))
			return
		}
		state := s.CachedInfo().State
		last, err := l.last(ctx, f, n, state.FirstSeq, state.LastSeq)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, r := range last {
			if !yield(r, nil) {
				return
			}
		}
		if !follow {
			return
		}
		for r, err := range l.records(ctx, f, f.from(state.LastSeq+1), true) {
			if !yield(r, err) {
				return
			}
		}
	}
}

// last are the last n entries up to that sequence. It reads the end of the log, and
// more of it as long as those are not enough.
func (l *Log) last(ctx context.Context, f Filter, n int, first, through uint64) ([]*wire.Record, error) {
	for part := uint64(max(tailPart, n)); n > 0; part *= 10 {
		whole := !f.Since.IsZero() || part >= through || through-part < first
		from := f.config()
		if !whole {
			from = f.from(through - part + 1)
		}
		var last []*wire.Record
		for e, err := range l.read(ctx, f, from, false) {
			if err != nil {
				return nil, err
			}
			if e.seq > through {
				break
			}
			if last = append(last, e.Record); len(last) > n {
				last = last[1:]
			}
		}
		if whole || len(last) == n || ctx.Err() != nil {
			return last, nil
		}
	}
	return nil, nil
}

// from is the consumer that reads from that sequence on.
func (f Filter) from(seq uint64) jetstream.OrderedConsumerConfig {
	c := f.config()
	c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, seq, nil
	return c
}

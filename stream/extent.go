package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Extent is what a stream holds.
type Extent struct {
	// First and Last are the sequences of its first message and of the last that it ever
	// got. Without a message First is one more than Last.
	First, Last uint64
	// Created tells the stream from a later one of the same name.
	Created time.Time
}

// Purger is a store that can also remove many messages at once.
type Purger struct{ *Store }

// Extent asks what a stream holds. It fails with [ErrNoStream] or [ErrAway].
func (s Purger) Extent(ctx context.Context, stream string) (Extent, error) {
	b, err := s.API(ctx, "STREAM.INFO."+stream, nil)
	if err != nil {
		return Extent{}, fmt.Errorf("ask what %s holds: %w", stream, err)
	}
	var info struct {
		Created time.Time `json:"created"`
		State   struct {
			First uint64 `json:"first_seq"`
			Last  uint64 `json:"last_seq"`
		} `json:"state"`
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return Extent{}, fmt.Errorf("ask what %s holds: %w", stream, err)
	}
	return Extent{First: info.State.First, Last: info.State.Last, Created: info.Created}, nil
}

// PurgeBelow removes all messages of a stream with a sequence below that one, which must
// not be 0. It fails with [ErrNoStream] or [ErrAway]; after the latter it may have.
func (s Purger) PurgeBelow(ctx context.Context, stream string, seq uint64) error {
	if seq == 0 { // the broker would remove everything
		return fmt.Errorf("purge %s: below no sequence", stream)
	}
	if _, err := s.API(ctx, "STREAM.PURGE."+stream, fmt.Appendf(nil, `{"seq":%d}`, seq)); err != nil {
		return fmt.Errorf("purge %s below %d: %w", stream, seq, err)
	}
	return nil
}

package consumer

import (
	"context"
	"time"

	"github.com/postrider/postrider/wire"
)

// look is step 1: what is known of the line, from the leader. It returns the
// record to carry on where an earlier hand recorded this hop and nothing is
// open; else h.seen holds the last record, if there is any.
//
// It is never left out: a first delivery need not be the first, for a broker
// that was killed forgets deliveries.
func (c *Consumer) lookup(ctx context.Context, h *delivery) (*wire.Record, error) {
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		h.seen, h.seenSeq, err = c.Journal.Lookup(ctx, h.own.Key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.known(ctx, h, c.Journal.Find)
}

// lookUnread looks for a message whose id may stand in a body that nobody
// dares to decode.
func (c *Consumer) lookupUnread(ctx context.Context, lane wire.Lane, h *delivery) (*wire.Record, error) {
	if !h.fresh(lane) {
		return c.lookup(ctx, h)
	}
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		h.seen, h.seenSeq, err = c.Journal.LookupByOrigin(ctx, h.own.Key)
		return err
	})
	if err != nil {
		return nil, err
	}
	done, err := c.known(ctx, h, c.Journal.FindByOrigin)
	for _, r := range []*wire.Record{done, h.seen} {
		if r != nil {
			h.own.Key.ID = r.ID
		}
	}
	return done, err
}

// finder searches the log.
type finder func(ctx context.Context, l wire.Key, generation int, enqueued time.Time) (*wire.Record, error)

func (c *Consumer) known(ctx context.Context, h *delivery, find finder) (*wire.Record, error) {
	if h.seen != nil && h.seen.Generation >= h.own.Generation {
		if h.seen.Generation == h.own.Generation && !h.seen.Has(wire.StatePending) {
			return h.seen, nil
		}
		return nil, nil
	}
	if h.delivered == 1 {
		return nil, nil
	}
	// A worker may have died between record and ack so long ago that the
	// record has expired; the log remembers.
	found, err := find(ctx, h.own.Key, h.own.Generation, h.own.Enqueued)
	if err != nil || found == nil {
		return nil, err
	}
	if found.Generation == h.own.Generation && !found.Has(wire.StatePending) {
		return found, nil
	}
	h.seen, h.seenSeq = found, 0
	return nil, nil
}

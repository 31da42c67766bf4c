package consumer

import (
	"context"
	"time"

	"github.com/postrider/postrider/schema"
)

// look is step 1: what is known of the line, from the leader. It returns the
// record to carry on where an earlier hand recorded this hop and nothing is
// open; else h.seen holds the last record, if there is any.
//
// It is never left out: a first delivery need not be the first, for a broker
// that was killed forgets deliveries.
func (c *Consumer) look(ctx context.Context, h *hand) (*schema.Record, error) {
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		h.seen, h.seenSeq, err = c.Journal.Look(ctx, h.own.Line)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.known(ctx, h, c.Journal.Find)
}

// lookUnread looks for a message whose id may stand in a body that nobody
// dares to decode.
func (c *Consumer) lookUnread(ctx context.Context, lane schema.Lane, h *hand) (*schema.Record, error) {
	if !h.fresh(lane) {
		return c.look(ctx, h)
	}
	err := c.write(ctx, h, func(ctx context.Context) (err error) {
		h.seen, h.seenSeq, err = c.Journal.LookByOrigin(ctx, h.own.Line)
		return err
	})
	if err != nil {
		return nil, err
	}
	done, err := c.known(ctx, h, c.Journal.FindByOrigin)
	for _, r := range []*schema.Record{done, h.seen} {
		if r != nil {
			h.own.Line.ID = r.ID
		}
	}
	return done, err
}

// finder searches the log.
type finder func(ctx context.Context, l schema.Line, hop int, enqueued time.Time) (*schema.Record, error)

func (c *Consumer) known(ctx context.Context, h *hand, find finder) (*schema.Record, error) {
	if h.seen != nil && h.seen.Hop >= h.own.Hop {
		if h.seen.Hop == h.own.Hop && !h.seen.Has(schema.StateOpen) {
			return h.seen, nil
		}
		return nil, nil
	}
	if h.delivered == 1 {
		return nil, nil
	}
	// A worker may have died between record and ack so long ago that the
	// record has expired; the log remembers.
	found, err := find(ctx, h.own.Line, h.own.Hop, h.own.Enqueued)
	if err != nil || found == nil {
		return nil, err
	}
	if found.Hop == h.own.Hop && !found.Has(schema.StateOpen) {
		return found, nil
	}
	h.seen, h.seenSeq = found, 0
	return nil, nil
}

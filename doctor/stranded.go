package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
)

// readAtMost bounds the messages that are read one by one.
const readAtMost = 500

// stranded counts what no consumer will hand out, by the sweep's rule.
func (p *Patient) stranded(ctx context.Context, x *broker.Examination) []Finding {
	var all []Finding
	for _, c := range x.Consumers {
		if c.Info == nil {
			continue
		}
		n, err := p.strandedIn(ctx, c)
		switch {
		case err != nil:
			all = append(all, unread("stranded", c.Info.Stream, err))
		case n > 0:
			all = append(all, Finding{Level: Warning, Check: "stranded", At: c.Info.Stream, Found: "at least " + queue.Counted(uint64(n), "message") + " that no consumer hands out any more", Do: "a worker finds and settles them within a minute (POSTRIDER_SWEEP_INTERVAL): start one, and run postrider doctor again; if they stay, look at its log"})
		}
	}
	if len(all) == 0 && len(x.Consumers) > 0 {
		all = []Finding{{Level: OK, Check: "stranded", At: fmt.Sprintf("%d consumers", len(x.Consumers)), Found: "no message is stranded"}}
	}
	return all
}

// strandedIn counts, up to readAtMost. What was acked a moment ago may still be
// there, so the first one has to be there a second later too.
func (p *Patient) strandedIn(ctx context.Context, c broker.ConsumerState) (n int, err error) {
	store, end, filter := p.Conn.Store(), stream.Floor(c.Info), c.Filter
	first, err := store.Next(ctx, c.Info.Stream, filter, 1, time.Time{})
	if errors.Is(err, stream.ErrNotFound) || err == nil && first.Sequence > end {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !stream.Pause(ctx, time.Second) {
		return 0, ctx.Err()
	}
	r := stream.Range{From: first.Sequence, Through: end}
	for _, err := range stream.All(ctx, store, c.Info.Stream, filter, r) {
		if err != nil {
			return n, err
		}
		if n++; n == readAtMost {
			break
		}
	}
	return n, nil
}

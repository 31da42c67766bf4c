package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// overdueAfter is more than a schedule takes to fire.
	overdueAfter = time.Minute
	// overdueReads bounds the waiting copies that one sweep reads.
	overdueReads = 1000
)

// fireOverdue publishes copies again that should have become due a minute before now: a
// broker whose store was full when they did does not fire them any more. Published again
// in its own place, a copy fires at once.
//
// A sweep reads a part, and the next one goes on from there. Once the store was nearly
// full, the next sweep reads everything.
func (c *Consumer) fireOverdue(ctx context.Context, f *fetcher, now time.Time) error {
	x, began := &f.overdue, time.Now()
	if narrow, _ := c.Room.Narrow(false); narrow || c.Gate.fullAfter(x.searched) {
		x.everything = true
	}
	read := 0
	for m, err := range stream.All(ctx, c.Store, f.Stream, f.Lane.CopySubjects(wire.CopyLater), stream.Range{From: x.next}) {
		if err != nil {
			return err
		}
		if at, ok := wire.ScheduledAt(m.Header); ok && now.Sub(at) > overdueAfter {
			if err := c.fire(ctx, f, m, at); err != nil {
				return err
			}
		}
		if read++; read == overdueReads && !x.everything {
			x.next = m.Sequence + 1
			return nil
		}
	}
	*x = search{searched: began}
	return nil
}

// search is how far a search for overdue copies has come.
type search struct {
	// next is the sequence to go on from; 0 for the beginning.
	next uint64
	// everything: the store was nearly full, so the search does not pause.
	everything bool
	// searched is when the last complete search began.
	searched time.Time
}

// fire publishes an overdue copy again, unless it has fired or was replaced meanwhile.
func (c *Consumer) fire(ctx context.Context, f *fetcher, old *jetstream.RawStreamMsg, at time.Time) error {
	key, err := wire.ParseKey(old.Subject)
	if err != nil {
		return nil //nolint:nilerr // not ours; doctor reports it
	}
	m := &nats.Msg{Subject: old.Subject, Header: wire.Reschedule(old.Header, key, at), Data: old.Data}
	if _, err = c.Store.Set(ctx, m, key.CopySubject(wire.CopyAny), old.Sequence); errors.Is(err, stream.ErrConflict) {
		return nil
	} else if err != nil {
		return fmt.Errorf("fire the overdue copy of %s: %w", key, err)
	}
	c.Log.Warn("the broker did not fire a copy that was due: it is published again", "id", key.ID, "lane", f.Lane, "due", at)
	return nil
}

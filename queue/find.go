package queue

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Copies are the scheduled and due copies of a message, found by its id or origin.
func (q *Queue) Copies(ctx context.Context, id string) ([]*Message, error) {
	return q.gather(ctx, false, func(s source) ([]*Message, error) { return q.copies(ctx, s, id) })
}

func (q *Queue) copies(ctx context.Context, s source, id string) (all []*Message, err error) {
	for _, tail := range wire.KeyTails(id) {
		for m, err := range stream.All(ctx, q.store, s.Stream, "mail.copy."+string(s.Lane)+".*."+tail.Filter, stream.Range{}) {
			if err != nil {
				return nil, err
			}
			if !tail.Has(m.Subject) {
				continue
			}
			if x := s.readCopy(m); x.Key.ID == id || x.Key.Origin == id {
				all = append(all, x)
			}
		}
	}
	return all, nil
}

// Fresh is what a producer published as lane/seq, if it has not been settled.
func (q *Queue) Fresh(ctx context.Context, lane wire.Lane, seq uint64) (*Message, error) {
	return q.fresh(ctx, lane, seq, func(*Message) bool { return true })
}

func (q *Queue) fresh(ctx context.Context, lane wire.Lane, seq uint64, match func(*Message) bool) (*Message, error) {
	sources, err := q.sources(ctx, lane, true)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		m, err := q.store.Next(ctx, s.Stream, s.Filter, seq, time.Time{})
		if errors.Is(err, stream.ErrNotFound) || err == nil && m.Sequence != seq {
			continue
		}
		if err != nil {
			return nil, err
		}
		if x := s.readFresh(m); match(x) {
			return x, nil
		}
	}
	return nil, stream.ErrNotFound
}

// FreshByOrigin is what a producer published, found by its origin, if it has not
// been settled.
func (q *Queue) FreshByOrigin(ctx context.Context, origin string) (*Message, error) {
	_, s, _ := strings.Cut(origin, "-")
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil, stream.ErrNotFound
	}
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	for _, lane := range lanes {
		m, err := q.fresh(ctx, lane, seq, func(m *Message) bool { return m.Key.Origin == origin })
		if err == nil || !errors.Is(err, stream.ErrNotFound) {
			return m, err
		}
	}
	return nil, stream.ErrNotFound
}

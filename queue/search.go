package queue

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Unsettled is how many messages [Queue.Search] would read.
func (q *Queue) Unsettled(ctx context.Context) (uint64, error) {
	var n uint64
	all := q.js.ListStreams(ctx, jetstream.WithStreamListSubject(sendSubjects))
	for info := range all.Info() {
		n += info.State.Msgs
	}
	return n, all.Err()
}

// Search reads what producers published and no worker has settled, for messages of
// that id or Message-ID: nothing else knows the id of such mail. It calls read for each
// message that it reads, one at a time.
func (q *Queue) Search(ctx context.Context, id string, read func()) ([]*Message, error) {
	return q.gather(ctx, true, func(s source) ([]*Message, error) {
		return q.searchIn(ctx, s, read, func(m *jetstream.RawStreamMsg) *Message {
			if !mayBe(m, id) {
				return nil
			}
			if x := s.readFresh(m); x.Key.ID == id || hasMessageID(x.Envelope, id) {
				return x
			}
			return nil
		})
	})
}

const (
	// readers is how many requests are under way while a stream is searched, each
	// for the next message of a part.
	readers = 64
	part    = 64
)

// searchIn is what match makes of the messages of a source. It reads the stream in parts, side by side: of a work queue, the broker gives
// only the workers' consumer many messages at once.
func (q *Queue) searchIn(ctx context.Context, s source, read func(), match func(*jetstream.RawStreamMsg) *Message) ([]*Message, error) {
	x, err := q.stream(ctx, s.Stream)
	if err != nil {
		return nil, err
	}
	state := x.CachedInfo().State
	if state.Msgs == 0 {
		return nil, nil
	}
	var mu sync.Mutex // guards found and the calls of read
	var found []*Message
	err = q.inParts(ctx, s.Source, state.FirstSeq, state.LastSeq, func(m *jetstream.RawStreamMsg) {
		mu.Lock()
		defer mu.Unlock()
		read()
		if x := match(m); x != nil {
			found = append(found, x)
		}
	})
	slices.SortFunc(found, func(a, b *Message) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return found, err
}

// inParts calls see for each message of the source from first to last, in no order
// and by many goroutines.
func (q *Queue) inParts(ctx context.Context, s wire.Source, first, last uint64, see func(*jetstream.RawStreamMsg)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	next.Store(first)
	var tasks sync.WaitGroup
	for range readers {
		tasks.Go(func() {
			for {
				from := next.Add(part) - part
				if from > last {
					return
				}
				if err := readPart(ctx, q.store, s, from, min(from+part-1, last), see); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	tasks.Wait()
	return context.Cause(ctx)
}

func readPart(ctx context.Context, store stream.Reader, s wire.Source, first, last uint64, see func(*jetstream.RawStreamMsg)) error {
	for m, err := range stream.All(ctx, store, s.Stream, s.Filter, stream.Range{From: first, Through: last}) {
		if err != nil {
			return err
		}
		see(m)
	}
	return nil
}

// mayBe saves decoding nearly all messages: an id that needs no escapes is in the
// body as it is, or in the header.
func mayBe(m *jetstream.RawStreamMsg, id string) bool {
	plain := mail.Token(id) == id
	return !plain || schema.HeaderID(m.Header) == id || bytes.Contains(m.Data, []byte(id))
}

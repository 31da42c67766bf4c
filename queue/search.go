package queue

import (
	"bytes"
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
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

// searchIn is what match makes of the messages of a source.
func (q *Queue) searchIn(ctx context.Context, s source, read func(), match func(*jetstream.RawStreamMsg) *Message) (found []*Message, err error) {
	x, err := q.stream(ctx, s.Stream)
	if err != nil {
		return nil, err
	}
	state := x.CachedInfo().State
	for m, err := range q.store.Direct(ctx, s.Stream, s.Filter, state.FirstSeq, state.LastSeq) {
		if err != nil {
			return nil, err
		}
		read()
		if x := match(m); x != nil {
			found = append(found, x)
		}
	}
	return found, nil
}

// mayBe saves decoding nearly all messages: an id that needs no escapes is in the
// body as it is, or in the header.
func mayBe(m *jetstream.RawStreamMsg, id string) bool {
	plain := mail.Token(id) == id
	return !plain || schema.HeaderID(m.Header) == id || bytes.Contains(m.Data, []byte(id))
}

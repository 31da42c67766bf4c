package stream

import (
	"context"
	"encoding/json"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// directMessages and directBytes bound a batch of [Store.Direct].
	directMessages = 256
	directBytes    = 8 << 20
	// headerPending is how many messages match behind this one.
	headerPending = "Nats-Num-Pending"
)

// Direct yields the messages from first to last whose subject matches, as [All] does but
// many with one request, and unlike [Store.Scan] from a work queue too. Of several replicas
// any one answers, which may be behind by a moment.
//
// If the stream has no AllowDirect, or the client has no permission, it reads as [All] does;
// the latter after 5 s.
func (s *Store) Direct(ctx context.Context, stream, subject string, first, last uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		next, more, err := first, true, error(nil)
		see := func(m *jetstream.RawStreamMsg) bool {
			next = m.Sequence + 1
			return m.Sequence <= last && yield(m, nil)
		}
		for more && next <= last && err == nil {
			more, err = s.directBatch(ctx, stream, subject, next, see)
		}
		if err == nil {
			return
		}
		for m, err := range All(ctx, s, stream, subject, Range{From: next, Through: last}) {
			if !yield(m, err) {
				return
			}
		}
	}
}

// directBatch reads a batch. It reports whether more are there and wanted.
func (s *Store) directBatch(ctx context.Context, stream, subject string, next uint64, see func(*jetstream.RawStreamMsg) bool) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	sub, err := s.askDirect(stream, map[string]any{"seq": next, "next_by_subj": subject, "batch": directMessages, "max_bytes": directBytes})
	if err != nil {
		return true, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return true, unanswered(err)
		}
		x := decodeDirect(m)
		switch {
		case x != nil:
		case m.Header != nil && ended(m.Header) != nil:
			return true, ended(m.Header)
		case m.Header != nil:
			return m.Header.Get(headerPending) != "0", nil
		default: // the client cannot read its headers
			if x, err = s.Next(ctx, stream, subject, next, time.Time{}); err != nil {
				return true, err
			}
		}
		if !see(x) {
			return false, nil
		}
		next = x.Sequence + 1
	}
}

// askDirect sends a request for many messages (NATS ADR-31), whose answers the
// subscription gets. The caller ends it.
func (s *Store) askDirect(stream string, query map[string]any) (*nats.Subscription, error) {
	if !s.nc.IsConnected() {
		return nil, unanswered(nats.ErrDisconnected)
	}
	body, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, unanswered(err)
	}
	if err := s.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		_ = sub.Unsubscribe()
		return nil, unanswered(err)
	}
	return sub, nil
}

// decodeDirect reads a message of an answer to DIRECT.GET; nil if it is none. The broker adds
// its headers behind those of the producer, who may have used their names.
func decodeDirect(m *nats.Msg) *jetstream.RawStreamMsg {
	last := func(name string) (value string) {
		if values := m.Header[name]; len(values) > 0 {
			value = values[len(values)-1]
			if m.Header[name] = values[:len(values)-1]; len(values) == 1 {
				delete(m.Header, name)
			}
		}
		return value
	}
	seq, err := strconv.ParseUint(last(jetstream.SequenceHeader), 10, 64)
	at, terr := time.Parse(time.RFC3339Nano, last(jetstream.TimeStampHeaer))
	if err != nil || terr != nil {
		return nil
	}
	x := &jetstream.RawStreamMsg{Subject: last(jetstream.SubjectHeader), Sequence: seq, Time: at, Header: m.Header, Data: m.Data}
	for _, name := range []string{jetstream.StreamHeader, jetstream.LastSequenceHeader, headerPending} {
		last(name)
	}
	return x
}

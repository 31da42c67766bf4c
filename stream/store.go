// Package stream reads and writes the messages of streams: the last, the next,
// all of them, compare-and-set, atomic batches. It has one set of errors, so
// that callers decide without knowing JetStream.
//
// Reads go to the stream's leader, because a replica may be behind. A request
// is sent once. Callers that must get an answer try again; only [Put] does so
// by itself.
//
// It makes and changes no streams and takes no deliveries: broker and consumer
// do.
package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// answerTimeout is how long one request may wait. Elections take up to 8.7 s:
// a caller that has to outlast one tries again.
const answerTimeout = 5 * time.Second

// Store reads and writes streams over one connection. Its methods may be called
// concurrently.
type Store struct {
	nc *nats.Conn
}

// New is a store at the broker of nc.
func New(nc *nats.Conn) *Store { return &Store{nc: nc} }

// Request sends one request, once, and returns the data of the answer. It waits
// 5 s at most, and fails with [ErrAway] or [ErrTooLarge].
//
// While disconnected it sends nothing: the client would keep the request in its
// buffer and send it when nobody waits for it any more.
func (s *Store) Request(ctx context.Context, m *nats.Msg) ([]byte, error) {
	if !s.nc.IsConnected() {
		return nil, unanswered(nats.ErrDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := s.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return nil, unanswered(err)
	}
	return r.Data, nil
}

// API asks JetStream's API, for example for "STREAM.INFO.MAIL_DEAD", and returns
// its answer. A refusal is an [APIError].
func (s *Store) API(ctx context.Context, method string, body []byte) ([]byte, error) {
	r, err := s.Request(ctx, &nats.Msg{Subject: "$JS.API." + method, Data: body})
	if err != nil {
		return nil, err
	}
	var refusal struct {
		Error *APIError `json:"error"`
	}
	if err := json.Unmarshal(r, &refusal); err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	if refusal.Error != nil {
		return nil, refusal.Error
	}
	return r, nil
}

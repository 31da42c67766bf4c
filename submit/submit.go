// Package submit is the way in: it checks a mail by the code that a worker runs,
// and publishes it to a lane. Programs written in Go use it as their client.
//
//	nc, err := nats.Connect(url)
//	…
//	receipt, err := submit.New(nc).Publish(ctx, "normal", &schema.Envelope{
//		ID:   "order-17",
//		From: mail.Address{Email: "shop@example.com"},
//		To:   []mail.Address{{Email: "ann@example.net"}},
//		Text: &text,
//	})
//
// [Client.PublishAll] publishes many mails in batches, which is faster.
//
// The promise: if [Client.Publish] returns without an error, the broker has
// stored the mail. Each of its recipients is then accepted by a relay at least
// once, or dead-lettered with a reason, or canceled by an operator. The promise
// rests on synced writes, which the embedded broker does, or on replicas that do
// not lose power together.
//
// If Publish returns an error that is [stream.ErrAway], it is not known whether
// the mail is stored. Publish it again with the same ID: for ten minutes the lane
// keeps one mail of an ID. (It goes by the header Nats-Msg-Id, to which Publish sets
// the ID; the ID in an envelope that is published without that header drops nothing.)
//
// The package sends nothing by SMTP and waits for no delivery. It fetches no
// bodies, signs nothing, and does not look whether an address exists. Its
// connection needs the permissions of a producer, and it runs no server.
package submit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Client publishes mail over one connection. Its methods may be called
// concurrently.
type Client struct {
	// Waiting, if it is set, is called once in a Publish or PublishAll that waits for
	// an answer, with the reason. Patience, if it is set, is how long each mail is
	// tried; 0 is until the context ends. Set both before the first publish.
	Waiting  func(why error)
	Patience time.Duration

	nc    *nats.Conn
	store *stream.Store
	close func()

	// taken has the subjects that have taken mail of this client.
	taken sync.Map
	// mute: the broker does not let this client ask which lanes there are.
	mute atomic.Bool
}

// New is a client on a connection that the application has. The connection
// stays the application's: [Client.Close] leaves it open.
func New(nc *nats.Conn) *Client {
	return &Client{nc: nc, store: stream.New(nc), close: func() {}}
}

// Dial connects to the broker that cfg names. With the URL empty that is the
// worker on this machine, by the credential in its DataDir. It fails at once if
// there is no broker, with [stream.ErrAway]. The connection reconnects by itself.
func Dial(ctx context.Context, cfg broker.Config) (*Client, error) {
	cfg.Role = broker.Publisher
	conn, err := broker.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	c := New(conn.NC())
	c.close = conn.Close
	return c, nil
}

// Close closes the connection that [Dial] made. It takes 5 s at most.
func (c *Client) Close() { c.close() }

// patient is ctx for a mail that is published.
func (c *Client) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Patience <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.Patience)
}

// Check reports why a worker would refuse the mail. It runs the code of a worker
// as far as the bytes for the relay. The error is a [*schema.EnvelopeError].
func Check(e *schema.Envelope) error {
	_, _, err := encode(e)
	return err
}

// encode writes the envelope as it is published, and checks what it wrote.
func encode(e *schema.Envelope) (header map[string][]string, body []byte, err error) {
	if header, body, err = e.Encode(); err != nil {
		return nil, nil, err
	}
	read, err := schema.Decode(header, body)
	if err != nil {
		return nil, nil, err
	}
	if err := read.CheckRelay(); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	if _, err := compose.Compose(read, wire.Origin(now, 1), now); err != nil {
		return nil, nil, err
	}
	return header, body, nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

// drainTimeout bounds [Conn.Close].
const drainTimeout = 5 * time.Second

// Conn is a connection to the broker. Its methods may be called concurrently. It
// reconnects by itself, for ever.
type Conn struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	store *stream.Store
	log   *slog.Logger

	clock     clock
	embedded  bool                      // the broker is in this process; set before Conn is shared
	own       string                    // see Own; set before Conn is shared
	variables string                    // see Variables; set before Conn is shared
	back      atomic.Pointer[time.Time] // the last reconnect, nil before the first

	stop   context.CancelFunc // ends the clock
	work   sync.WaitGroup
	closed chan struct{} // closed once nc is
}

// open connects with those options and starts the clock's goroutine, which ends
// at [Conn.Close].
func open(ctx context.Context, role Role, log *slog.Logger, url string, opts ...nats.Option) (*Conn, error) {
	c := &Conn{log: log, closed: make(chan struct{})}
	nc, err := nats.Connect(url, append(c.options(ctx, role), opts...)...)
	if err != nil {
		return nil, err
	}
	c.nc, c.store = nc, stream.New(nc)
	if c.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, err
	}
	watch, stop := context.WithCancel(context.Background())
	c.stop = stop
	if role != Publisher { // which has no permission to ask
		// There may be no stream to ask for yet; Provision measures again.
		_ = c.clock.measure(ctx, c.brokerTime)
		c.work.Go(func() { c.clock.run(watch, c.brokerTime) })
	}
	return c, nil
}

// Inside connects, as an operator, to the embedded broker of this process. seed
// is the file of the operator's nkey.
func Inside(ctx context.Context, role Role, log *slog.Logger, seed string, server nats.InProcessConnProvider) (*Conn, error) {
	key, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	c, err := open(ctx, role, log, "", key, nats.InProcessServer(server))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded broker: %w", err)
	}
	c.embedded = true
	return c, nil
}

// options are those of all connections.
func (c *Conn) options(ctx context.Context, role Role) []nats.Option {
	timeout := 5 * time.Second
	if d, ok := ctx.Deadline(); ok {
		timeout = max(time.Millisecond, min(timeout, time.Until(d)))
	}
	return []nats.Option{
		nats.Name("postrider " + string(role)),
		// Not _INBOX, so that permissions can restrict a role to its own answers.
		nats.CustomInboxPrefix("_INBOX_" + string(role)),
		nats.Timeout(timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		// Nothing is kept to be sent after a reconnect: a write whose lease was checked
		// a minute ago would be a wrong write.
		nats.ReconnectBufSize(-1),
		// Refused credentials may be accepted later: an operator who changes them
		// need not restart workers, which read their files again.
		nats.IgnoreAuthErrorAbort(),
		// A broker that was cut off is noticed after 15 s.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(drainTimeout),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil if we closed it
				c.log.Warn("connection to the broker lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			now := time.Now()
			c.back.Store(&now)
			c.log.Info("connected to the broker again", "server", nc.ConnectedServerName())
		}),
		// Dial puts its own in the place of this one.
		nats.ErrorHandler((&complaints{log: c.log, variables: "POSTRIDER_DATA_DIR"}).report),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}
}

// NC is the NATS connection.
func (c *Conn) NC() *nats.Conn { return c.nc }

// JS is the JetStream context of the connection.
func (c *Conn) JS() jetstream.JetStream { return c.js }

// Store reads and writes the messages of streams over this connection.
func (c *Conn) Store() *stream.Store { return c.store }

// URL is that of the connected server, without user, password or token; empty
// while there is none. The user goes too, because a token is written in its
// place.
func (c *Conn) URL() string {
	u, err := url.Parse(c.nc.ConnectedUrl())
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// Embedded reports that the broker is part of a worker.
func (c *Conn) Embedded() bool { return IsEmbedded(c.nc.ConnectedServerName()) }

// Own is the directory of the embedded broker, if its operator's key there is the
// credential of the connection; empty for any other.
func (c *Conn) Own() string { return c.own }

// Variables are the settings that the credential of the connection comes from, separated
// by commas; empty if none is set.
func (c *Conn) Variables() string { return c.variables }

// Epoch changes when the loss of the connection is noticed, not only when a
// handler runs: if two values are equal, the connection was there all the time
// between. The values have no other meaning.
func (c *Conn) Epoch() int64 {
	// In this order: after a reconnect between the two reads the value is one too
	// high, and it did change.
	up := c.nc.IsConnected()
	n := int64(c.nc.Stats().Reconnects)
	if !up {
		n++
	}
	return n
}

// LastReconnect is the local time of the last reconnect; the zero time if there
// was none.
func (c *Conn) LastReconnect() time.Time {
	if at := c.back.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Now is the broker's time: what it said when it was last asked, plus the time
// since. It is asked once a minute. A [Publisher] gets the local time.
func (c *Conn) Now() time.Time { return c.clock.now() }

// Close drains subscriptions, sends what is buffered and closes the connection.
// It takes 10 s at most.
func (c *Conn) Close() {
	c.stop()
	c.work.Wait()
	if err := c.nc.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.nc.Close() // not connected, so there is nothing to drain
	}
	select {
	case <-c.closed:
	case <-time.After(2 * drainTimeout):
		c.nc.Close()
	}
}

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

// Conn is a connection to the broker. Its methods may be called from many
// goroutines at once. It reconnects by itself, for ever.
type Conn struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	store *stream.Store
	log   *slog.Logger

	clock    clock
	embedded bool                      // this process's own broker is at the other end
	back     atomic.Pointer[time.Time] // of the last reconnect, nil before the first

	stop   context.CancelFunc // ends the clock
	work   sync.WaitGroup
	closed chan struct{} // closed once nc is
}

// open connects with those options and starts the clock.
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
	if role != Publisher { // a producer may not ask
		// There may be no stream to ask about yet; Provision measures again.
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

// options are those that all connections share.
func (c *Conn) options(ctx context.Context, role Role) []nats.Option {
	timeout := 5 * time.Second
	if d, ok := ctx.Deadline(); ok {
		timeout = max(time.Millisecond, min(timeout, time.Until(d)))
	}
	return []nats.Option{
		nats.Name("postrider " + string(role)),
		// Apart from _INBOX, so that permissions can keep a role to its own answers.
		nats.CustomInboxPrefix("_INBOX_" + string(role)),
		nats.Timeout(timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		// Credentials may come back: an operator who rotates them should not
		// have to restart workers.
		nats.IgnoreAuthErrorAbort(),
		// A broker that is cut off says nothing: it is missed after 15 s.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(drainTimeout),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // none where we closed it
				c.log.Warn("connection to the broker lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			now := time.Now()
			c.back.Store(&now)
			c.log.Info("connected to the broker again", "server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.log.Warn("the broker reports an error", "error", err)
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}
}

// NC is the NATS connection.
func (c *Conn) NC() *nats.Conn { return c.nc }

// JS is the JetStream context of the connection.
func (c *Conn) JS() jetstream.JetStream { return c.js }

// Store reads and writes the messages of streams over this connection.
func (c *Conn) Store() *stream.Store { return c.store }

// URL is the server's that is connected to, without user, password or token;
// empty while there is none. A token stands where others have a user's name, so
// that hiding the password alone would tell it.
func (c *Conn) URL() string {
	u, err := url.Parse(c.nc.ConnectedUrl())
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// Epoch changes whenever the connection is lost, at the moment it is found
// out and not when a handler gets to run: equal values before and after mean
// that the connection stood all the while. It never falls for good, and says
// nothing else.
func (c *Conn) Epoch() int64 {
	// In this order: a reconnect between the two reads gives a value too high,
	// which is a loss that happened.
	up := c.nc.IsConnected()
	n := int64(c.nc.Stats().Reconnects)
	if !up {
		n++
	}
	return n
}

// LastReconnect is when the connection was last made again; the zero time if
// it never was.
func (c *Conn) LastReconnect() time.Time {
	if at := c.back.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Now is the broker's time: what it said when it was last asked, once a minute,
// and the time gone by since. A [Publisher] has the local clock's.
func (c *Conn) Now() time.Time { return c.clock.now() }

// Close drains subscriptions, sends what is buffered and closes the
// connection. It takes 5 s at most.
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

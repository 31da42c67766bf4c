package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// patience is how much longer than a pull waits the broker may take to say so.
	patience = time.Second
	// goneAfter is longer than an election takes: a consumer for which nobody has
	// answered for that long is gone.
	goneAfter = 15 * time.Second
	// stopFor bounds the wait for what the broker sent before it knew of the end.
	stopFor = 2 * time.Second
)

var (
	// errNoMessage: none came in time. The pull is over: one that waited on at the
	// broker would bring a message when nobody is there to take it.
	errNoMessage = errors.New("no message in time")
	// errTooLarge: the next message is larger than the pull allows.
	errTooLarge = fmt.Errorf("%w that is small enough", errNoMessage)
)

// puller pulls from one durable consumer. It belongs to the fetcher's goroutine, which
// leases what arrives at once: in a buffer it would lose its lease.
type puller struct {
	nc      *nats.Conn
	link    Link
	subject string
	sub     *nats.Subscription
	arrived chan *nats.Msg // from the client's goroutine
	// owed is how many messages a pull that waits at the broker may still bring;
	// epoch is the connection's when it was sent.
	owed  int
	epoch int64
	// silent is since when no pull has been answered; zero if the last one was.
	silent time.Time
}

func newPuller(nc *nats.Conn, link Link, s wire.Source, slots int) (*puller, error) {
	p := &puller{nc: nc, link: link, subject: "$JS.API.CONSUMER.MSG.NEXT." + s.Stream + "." + s.Consumer, arrived: make(chan *nats.Msg, 2*slots+64)}
	var err error
	if p.sub, err = nc.ChanSubscribe(nc.NewInbox(), p.arrived); err != nil {
		return nil, fmt.Errorf("pull from %s: %w", s.Stream, err)
	}
	return p, nil
}

// next pulls at most batch messages of maxBytes together (0 is no bound) and returns
// the first. One that an earlier pull is still to bring comes first.
func (p *puller) next(ctx context.Context, batch, maxBytes int, wait time.Duration) (*nats.Msg, error) {
	began := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := p.pull(batch, maxBytes, wait); err != nil {
			return nil, err
		}
		select {
		case m := <-p.arrived:
			// The broker's own words have no reply subject. (A producer may set any
			// header.)
			if m.Reply != "" {
				p.owed, p.silent = max(p.owed-1, 0), time.Time{}
				return m, nil
			}
			if err := p.ended(ctx, m); err != nil {
				return nil, err
			}
		case <-tick.C: // after a reconnect, pull again
			if time.Since(began) > wait+patience {
				p.owed = 0
				return nil, p.unanswered()
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pull sends a pull unless one waits: the broker forgets those of a connection
// that was lost. While disconnected it sends nothing, because what is in the
// client's buffer would ask a second time.
func (p *puller) pull(batch, maxBytes int, wait time.Duration) error {
	if p.nc.IsClosed() {
		return nats.ErrConnectionClosed
	}
	epoch := p.link.Epoch()
	if p.owed > 0 && p.epoch == epoch || len(p.arrived) > 0 || !p.nc.IsConnected() {
		return nil
	}
	p.owed, p.epoch = batch, epoch
	// The broker takes 0 for no bound.
	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"max_bytes":%d}`, batch, wait, maxBytes)
	err := p.nc.PublishRequest(p.subject, p.sub.Subject, body)
	if errors.Is(err, nats.ErrReconnectBufExceeded) { // the connection was lost just now
		return nil
	}
	return err
}

// ended reads a status: nil if it is of a pull that brought all its messages.
func (p *puller) ended(ctx context.Context, m *nats.Msg) error {
	code, words := m.Header.Get("Status"), m.Header.Get("Description")
	if words == "Batch Completed" { // bytes are left
		return nil
	}
	p.owed = 0
	switch {
	case code == "503": // in an election, or for ever
		stream.Pause(ctx, 250*time.Millisecond)
		return p.unanswered()
	case code == "409" && words == "Consumer Deleted", code == "400":
		return fmt.Errorf("%s: %s", p.subject, words)
	}
	p.silent = time.Time{}
	switch {
	case words == "Message Size Exceeds MaxBytes":
		return errTooLarge
	case code != "408": // a restart, too many pulls
		stream.Pause(ctx, 250*time.Millisecond)
	}
	return errNoMessage
}

// unanswered ends a pull that nobody has answered. It fails with another error than
// [errNoMessage] once that has gone on for goneAfter.
func (p *puller) unanswered() error {
	switch {
	case !p.nc.IsConnected():
		p.silent = time.Time{}
	case p.silent.IsZero():
		p.silent = time.Now()
	case time.Since(p.silent) > goneAfter:
		return fmt.Errorf("%s does not answer", p.subject)
	}
	return errNoMessage
}

// stop ends the pulling and returns what came meanwhile.
func (p *puller) stop() (left []*nats.Msg) {
	_ = p.sub.Drain()
	_ = p.nc.FlushTimeout(stopFor) // what was sent before the end has arrived
	for len(p.arrived) > 0 {
		if m := <-p.arrived; m.Reply != "" {
			left = append(left, m)
		}
	}
	return left
}

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
	pullHeartbeat = 5 * time.Second
	// maxSilences is how many pulls may be answered by nothing at all before the
	// consumer is believed to be gone.
	maxSilences = 2
	// stopFor bounds the wait for what the broker sent before it knew of the end.
	stopFor = 2 * time.Second
)

// How a pull ends without a message.
var (
	// errNoMessage: none came in time. The pull is over: one that waited on at the
	// broker would bring a message when nobody is there to take it.
	errNoMessage = errors.New("no message in time")
	// errTooLarge: the next message is larger than the pull allows.
	errTooLarge = errors.New("the next message is larger than may be fetched")
	// errNoConsumer: nobody answers for the consumer, perhaps only for a moment.
	errNoConsumer = errors.New("no consumer answers")
)

// request is one pull: at most batch messages of maxBytes together (0 is no bound).
type request struct {
	batch, maxBytes int
	wait            time.Duration
}

// puller pulls from one durable consumer, for one goroutine. That goroutine reads
// what arrives at once and leases it: in a buffer it would lose its lease.
type puller struct {
	nc      *nats.Conn
	link    Link
	subject string
	sub     *nats.Subscription
	arrived chan *nats.Msg
	// owed is how many messages a pull that waits at the broker may still bring;
	// epoch is the connection's when it was sent.
	owed     int
	epoch    int64
	silences int
}

func newPuller(nc *nats.Conn, link Link, s wire.Source, slots int) (*puller, error) {
	p := &puller{nc: nc, link: link, subject: "$JS.API.CONSUMER.MSG.NEXT." + s.Stream + "." + s.Consumer, arrived: make(chan *nats.Msg, 2*slots+64)}
	var err error
	if p.sub, err = nc.ChanSubscribe(nc.NewInbox(), p.arrived); err != nil {
		return nil, fmt.Errorf("pull from %s: %w", s.Stream, err)
	}
	return p, nil
}

// next pulls a message, unless one that was pulled before is to come first.
func (p *puller) next(ctx context.Context, want request) (*nats.Msg, error) {
	patience := want.wait + time.Second
	if want.wait >= 2*pullHeartbeat {
		patience = 2*pullHeartbeat + time.Second
	}
	silent := time.NewTimer(patience)
	defer silent.Stop()
	reconnected := time.NewTicker(250 * time.Millisecond)
	defer reconnected.Stop()
	for {
		if err := p.pull(want); err != nil {
			return nil, err
		}
		select {
		case m := <-p.arrived:
			p.silences = 0
			// The broker's own words have no reply subject. (A producer may set any
			// header.)
			if m.Reply != "" {
				p.owed = max(p.owed-1, 0)
				return m, nil
			}
			silent.Reset(patience)
			if err := p.ended(ctx, m); err != nil {
				return nil, err
			}
		case <-reconnected.C:
		case <-silent.C:
			if p.silences++; p.silences > maxSilences && p.nc.IsConnected() {
				return nil, fmt.Errorf("%s does not answer", p.subject)
			}
			p.owed = 0
			return nil, errNoMessage
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pull sends a pull unless one waits: the broker forgets those of a connection
// that was lost. While disconnected it sends nothing, because what is in the
// client's buffer would ask a second time.
func (p *puller) pull(want request) error {
	if p.nc.IsClosed() {
		return nats.ErrConnectionClosed
	}
	epoch := p.link.Epoch()
	if p.owed > 0 && p.epoch == epoch || len(p.arrived) > 0 || !p.nc.IsConnected() {
		return nil
	}
	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d`, want.batch, want.wait)
	if want.maxBytes > 0 {
		body = fmt.Appendf(body, `,"max_bytes":%d`, want.maxBytes)
	}
	if want.wait >= 2*pullHeartbeat { // the broker accepts no longer heartbeat
		body = fmt.Appendf(body, `,"idle_heartbeat":%d`, pullHeartbeat)
	}
	p.owed, p.epoch = want.batch, epoch
	return p.nc.PublishRequest(p.subject, p.sub.Subject, append(body, '}'))
}

// ended reads a status: nil if the pull goes on, or is to be sent again.
func (p *puller) ended(ctx context.Context, m *nats.Msg) error {
	code, words := m.Header.Get("Status"), m.Header.Get("Description")
	if code == "100" || words == "Batch Completed" { // a heartbeat; bytes are left of a pull that is over
		return nil
	}
	p.owed = 0
	switch {
	case code == "408", code == "404": // it waited for as long as it was to
		return errNoMessage
	case code == "409" && words == "Message Size Exceeds MaxBytes":
		return errTooLarge
	case code == "409" && words == "Consumer Deleted", code == "400":
		return fmt.Errorf("%s: %s", p.subject, words)
	}
	// An election, a restart, too many pulls: ask again in a moment. A consumer that
	// is gone answers like this for ever, which the fetcher finds out.
	if stream.Pause(ctx, 250*time.Millisecond) && code == "503" {
		return errNoConsumer
	}
	return ctx.Err()
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

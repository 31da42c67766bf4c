package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// These bound a pull request, as it waits at the broker for a message.
const (
	pullHeartbeat = 5 * time.Second
	// pullGrace is how much later than it should the broker may say that a
	// pull is over.
	pullGrace = time.Second
	// silence is how long the broker may say nothing before the pull is asked
	// for again; after as many silences as maxSilences the consumer may be gone.
	silence     = 2*pullHeartbeat + time.Second
	maxSilences = 2
)

// errNoMessage: none came in time. The pull is over: one that waited on at the
// broker would bring a message when nobody is there to take it.
var errNoMessage = errors.New("no message in time")

// parcel is a message as it arrived, held from that moment on.
type arrival struct {
	msg   *nats.Msg
	lease *lease
}

// puller asks a durable consumer for one message at a time. What arrives is
// held and renewed at once, whether or not somebody waits for it: a message
// that lies in a client's buffer would lose its lease there.
type puller struct {
	nc      *nats.Conn
	leases  *leases
	subject string
	sub     *nats.Subscription
	arrived chan arrival
	status  chan *nats.Msg
	closed  chan struct{}
	// asked reports that a pull waits at the broker; epoch is the connection's
	// at that time.
	asked bool
	epoch int64
	// silences are those since the broker last said anything.
	silences int
}

func newPuller(nc *nats.Conn, leases *leases, stream, consumer string) (*puller, error) {
	p := &puller{
		nc: nc, leases: leases, subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer,
		arrived: make(chan arrival, 16), status: make(chan *nats.Msg, 16), closed: make(chan struct{}),
	}
	var err error
	p.sub, err = nc.Subscribe(nc.NewInbox(), p.arrive)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", stream, err)
	}
	p.sub.SetClosedHandler(func(string) { close(p.closed) })
	return p, nil
}

// arrive runs as soon as something comes from the broker.
func (p *puller) arrive(m *nats.Msg) {
	if m.Reply == "" {
		// The broker's own words have no reply subject, and a producer may set
		// any header.
		select {
		case p.status <- m:
		default: // the next one says the same
		}
		return
	}
	x := arrival{m, p.leases.hold(pulled{p.nc, m})}
	select {
	case p.arrived <- x:
	default:
		// More than was asked for, by far: not ours to keep.
		_ = x.lease.msg.NakWithDelay(0)
		x.lease.release()
	}
}

// next asks for a message and waits for it that long.
func (p *puller) next(ctx context.Context, wait time.Duration) (arrival, error) {
	late := time.NewTimer(wait + pullGrace)
	defer late.Stop()
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	heard := time.Now()
	for {
		if err := p.ask(wait); err != nil {
			return arrival{}, err
		}
		select {
		case x := <-p.arrived:
			p.asked, p.silences = false, 0
			return x, nil
		case m := <-p.status:
			heard, p.silences = time.Now(), 0
			if err := p.told(ctx, m); err != nil {
				return arrival{}, err
			}
		case <-look.C:
			if p.nc.IsConnected() && time.Since(heard) > silence {
				p.asked, heard = false, time.Now()
				if p.silences++; p.silences > maxSilences {
					return arrival{}, fmt.Errorf("%s does not answer", p.subject)
				}
			}
		case <-late.C:
			return arrival{}, errNoMessage
		case <-ctx.Done():
			return arrival{}, ctx.Err()
		}
	}
}

// ask sends a pull where none waits: the broker forgets those of a connection
// that was lost. While disconnected it sends nothing, for what lies in the
// client's buffer would ask a second time.
func (p *puller) ask(wait time.Duration) error {
	if p.nc.IsClosed() {
		return nats.ErrConnectionClosed
	}
	epoch := p.leases.link.Epoch()
	if p.asked && p.epoch == epoch || !p.nc.IsConnected() {
		return nil
	}
	heartbeat := pullHeartbeat
	if wait < 2*heartbeat { // the broker takes no longer one
		heartbeat = 0
	}
	body := fmt.Appendf(nil, `{"batch":1,"expires":%d,"idle_heartbeat":%d}`, wait, heartbeat)
	if err := p.nc.PublishRequest(p.subject, p.sub.Subject, body); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	p.asked, p.epoch = true, epoch
	return nil
}

// told takes note of a status: a heartbeat, or the end of the pull.
func (p *puller) told(ctx context.Context, m *nats.Msg) error {
	switch code, words := m.Header.Get("Status"), m.Header.Get("Description"); {
	case code == "100": // heartbeat
		return nil
	case code == "409" && words == "Consumer Deleted":
		return fmt.Errorf("%s: %s", p.subject, words)
	case code == "408" || code == "404": // it waited for as long as it was to
		p.asked = false
		return errNoMessage
	case code == "400":
		return fmt.Errorf("%s: %s", p.subject, words)
	}
	// An election, a restart, too many pulls: ask again in a moment. A consumer
	// that is gone answers like this for ever, which the caller finds out.
	p.asked = false
	if err := sleep(ctx, 250*time.Millisecond); err != nil {
		return err
	}
	if m.Header.Get("Status") == "503" {
		return errNoConsumer
	}
	return nil
}

// errNoConsumer: nobody answers for the consumer, perhaps only for a moment.
var errNoConsumer = errors.New("no consumer answers")

// stopFor bounds the wait for what the broker sent before it knew of the end.
const stopFor = 2 * time.Second

// stop ends the pulling and gives what came meanwhile.
func (p *puller) stop() (left []arrival) {
	if p.sub.Drain() != nil {
		_ = p.sub.Unsubscribe()
	}
	t := time.NewTimer(stopFor)
	defer t.Stop()
	select {
	case <-p.closed:
	case <-t.C:
	}
	for {
		select {
		case x := <-p.arrived:
			left = append(left, x)
		default:
			return left
		}
	}
}

// delivery settles a message that was pulled. [jetstream.Msg] has the same
// methods but cannot be made from what arrives.
type pulled struct {
	nc  *nats.Conn
	msg *nats.Msg
}

// DoubleAck acknowledges and waits for the broker's answer.
func (d pulled) DoubleAck(ctx context.Context) error {
	_, err := d.nc.RequestWithContext(ctx, d.msg.Reply, []byte("+ACK"))
	return err
}

// NakWithDelay hands the message back for after a pause.
func (d pulled) NakWithDelay(pause time.Duration) error {
	return d.nc.Publish(d.msg.Reply, fmt.Appendf(nil, `-NAK {"delay":%d}`, pause))
}

// InProgress renews the lease.
func (d pulled) InProgress() error { return d.nc.Publish(d.msg.Reply, []byte("+WPI")) }

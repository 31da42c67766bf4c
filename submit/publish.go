package submit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// ErrNoLane: no stream takes mail of the lane. Its name is wrong, or no worker
// has made it yet.
var ErrNoLane = errors.New("no such lane")

// ErrForbidden: the user of the connection may not publish to the lane.
var ErrForbidden = errors.New("the broker's permissions do not allow it")

// retryPause is waited between tries. Without a leader "no responders" comes
// at once.
const retryPause = 250 * time.Millisecond

// Receipt says that a mail is stored, and where.
type Receipt struct {
	// ID is the envelope's, or the one that was made for it.
	ID   string    `json:"id"`
	Lane wire.Lane `json:"lane"`
	// Sequence is the mail's number in the lane.
	Sequence uint64 `json:"sequence"`
	// Duplicate: the lane had a mail of this ID in the last ten minutes. That one
	// is kept, Sequence is its own, and this one is dropped. It may have been
	// stored by an earlier try of the same call.
	Duplicate bool `json:"duplicate"`
}

// Publish checks the mail, publishes it to the lane and waits until it is stored.
// An envelope without an ID gets a UUID. The NATS header Nats-Msg-Id is set to the ID:
// by that the broker drops duplicates, for ten minutes. An envelope with a tenant goes
// to that tenant's subject, and its ID is the tenant's own. e is not changed.
//
// A publish without an answer is tried again, under the same ID, until ctx ends:
// give ctx a deadline. Errors are
//
//   - [*schema.EnvelopeError]: a worker would refuse it; nothing was published
//   - [stream.ErrTooLarge]: the lane does not take a mail of that size
//   - [stream.ErrFull]: the lane has no room; try again later
//   - [ErrNoLane]: the broker has lanes, and not this one; or, if it does not say which
//     it has, nothing took the lane's mail for ten seconds (two, if the broker is part
//     of a worker), or until ctx ended
//   - [ErrForbidden]: trying again does not help, another credential does
//   - [stream.ErrAway]: ctx ended without an answer, or the connection was closed;
//     the mail may be stored
//   - another one: the broker refused it, for example by its permissions; nothing
//     was stored
func (c *Client) Publish(ctx context.Context, lane wire.Lane, e *schema.Envelope) (Receipt, error) {
	if err := lane.Validate(); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrNoLane, err)
	}
	sent := *e
	if sent.ID == "" {
		sent.ID = uuid.NewString()
	}
	header, body, err := encode(&sent)
	if err != nil {
		return Receipt{}, err
	}
	ack, err := c.publish(ctx, lane, message(lane, &sent, header, body))
	if err != nil {
		return Receipt{}, fmt.Errorf("publish to lane %s: %w", lane, err)
	}
	// A UUID of ours is nobody else's: an earlier try stored it.
	return Receipt{ID: sent.ID, Lane: lane, Sequence: ack.Sequence, Duplicate: ack.Duplicate && e.ID != ""}, nil
}

// message is the envelope on its subject. Within a lane, whose stream drops
// duplicates for all tenants together, an ID has its tenant before it.
func message(lane wire.Lane, e *schema.Envelope, header map[string][]string, body []byte) *nats.Msg {
	subject, id := lane.SendSubject(), e.ID
	if e.Tenant != "" {
		subject, id = lane.TenantSubject(e.Tenant), e.Tenant+":"+e.ID
	}
	m := &nats.Msg{Subject: subject, Header: nats.Header(header), Data: body}
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header.Set(schema.HeaderMsgID, id)
	return m
}

// publish publishes m until there is an answer.
func (c *Client) publish(ctx context.Context, lane wire.Lane, m *nats.Msg) (stream.Ack, error) {
	w := &wait{client: c, lane: lane, subject: m.Subject, began: time.Now()}
	for {
		ack, err := c.try(ctx, m)
		switch {
		case err == nil:
			c.taken.Store(m.Subject, true)
			return ack, nil
		case errors.Is(err, stream.ErrTooLarge):
			return stream.Ack{}, fmt.Errorf("%w: it has %d bytes with its headers, the lane takes %d, and %d of headers",
				err, m.Size()-len(m.Subject), c.nc.MaxPayload()-wire.Headroom, wire.Headroom)
		case !errors.Is(err, stream.ErrAway) || c.nc.IsClosed():
			return stream.Ack{}, err
		case c.forbidden(m.Subject):
			return stream.Ack{}, fmt.Errorf("%w: %s may not publish to %s: %s", ErrForbidden, c.who(), m.Subject, forbiddenAdvice(m.Subject))
		}
		if err := w.after(ctx, err); err != nil {
			return stream.Ack{}, err
		}
	}
}

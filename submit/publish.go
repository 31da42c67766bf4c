package submit

import (
	"cmp"
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

// ErrNoLane: the broker lacks the lane. Its name is wrong, or no worker has made it
// yet.
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
// give ctx a deadline, or the client [Client.Patience]. With an error the receipt
// has only ID and lane. Errors are
//
//   - [*schema.EnvelopeError]: a worker would refuse it; nothing was published
//   - [stream.ErrTooLarge]: the lane does not take a mail of that size
//   - [stream.ErrFull]: the lane has no room; try again later
//   - [ErrNoLane]: the broker has lanes, and not this one; if it is part of a worker,
//     nothing took the lane's mail for two seconds
//   - [ErrForbidden]: trying again does not help, another credential does
//   - [stream.ErrAway]: ctx ended without an answer, or the connection was closed, and
//     the mail may be stored; or nothing took the lane's mail for ten seconds: the NATS
//     cluster has no leader or quorum or, if the broker does not say which lanes it has,
//     lacks the lane
//   - another one: the broker refused it, or ctx had ended before; nothing was stored
func (c *Client) Publish(ctx context.Context, lane wire.Lane, e *schema.Envelope) (Receipt, error) {
	o := prepare(lane, e)
	if o.err == nil {
		c.publish(ctx, o, c.Waiting)
	}
	return o.receipt, o.err
}

// outgoing is a mail on its way to the lane, and then its result.
type outgoing struct {
	msg     *nats.Msg
	receipt Receipt
	err     error
	// ours: the ID was made here, and no other mail has it.
	ours bool
	// lost is why an earlier try got no answer: it may have stored the mail.
	lost error
}

// prepare checks a mail and encodes it.
func prepare(lane wire.Lane, e *schema.Envelope) *outgoing {
	sent := *e
	if sent.ID == "" {
		sent.ID = uuid.NewString()
	}
	o := &outgoing{receipt: Receipt{ID: sent.ID, Lane: lane}, ours: e.ID == ""}
	if err := lane.Validate(); err != nil {
		o.err = fmt.Errorf("%w: %w", ErrNoLane, err)
		return o
	}
	header, body, err := encode(&sent)
	if err != nil {
		o.err = err
		return o
	}
	o.msg = message(lane, &sent, header, body)
	return o
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

// publish publishes the mail by itself. say is told once what it waits for; it may be
// nil.
func (c *Client) publish(ctx context.Context, o *outgoing, say func(why error)) {
	ack, err := c.untilAnswered(ctx, o, say)
	if err != nil {
		o.err = fmt.Errorf("publish to lane %s: %w", o.receipt.Lane, err)
		return
	}
	c.stored(o, ack)
}

// stored is the result of a mail that the broker has stored.
func (c *Client) stored(o *outgoing, ack stream.Ack) {
	c.taken.Store(o.msg.Subject, true)
	o.receipt.Sequence = ack.Sequence
	// A UUID of ours is nobody else's: an earlier try stored it.
	o.receipt.Duplicate = ack.Duplicate && !o.ours
}

// untilAnswered publishes the mail until there is an answer.
func (c *Client) untilAnswered(ctx context.Context, o *outgoing, say func(why error)) (stream.Ack, error) {
	if err := ctx.Err(); err != nil { // a try would send it all the same
		return stream.Ack{}, cmp.Or(o.lost, err)
	}
	ctx, cancel := c.patient(ctx)
	defer cancel()
	m := o.msg
	w := &wait{client: c, lane: o.receipt.Lane, subject: m.Subject, began: time.Now(), say: say}
	for {
		ack, err := c.try(ctx, m)
		switch {
		case err == nil:
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

package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// settler tells the broker what is to become of a delivery.
type settler interface {
	// DoubleAck acknowledges and waits for the answer.
	DoubleAck(ctx context.Context) error
	NakWithDelay(pause time.Duration) error
	// InProgress renews the lease.
	InProgress() error
}

// hand is a message in hand, on its way through the five steps.
type delivery struct {
	stream  string
	subject string
	seq     uint64
	stored  time.Time
	header  nats.Header
	body    []byte
	// delivered counts deliveries, from 1; 0 for what the sweep found, which
	// has no lease and no way to be acked but by its sequence.
	delivered int
	msg       settler
	lease     *lease

	// own is whose message it is and its history.
	own wire.Copy
	// envelope and letter are set where bad is not.
	envelope *schema.Envelope
	message  *compose.Message
	bad      *schema.EnvelopeError
	// from and to are the addresses as SMTP says them, to by recipient.
	from path
	to   map[int]path

	// seen is the last record of the line, of whatever hop, and its sequence.
	seen    *wire.Record
	seenSeq uint64
	// aside are those who are not tried again in this hand, asideFor the outcome
	// that the last of them is aside for.
	aside    map[int]bool
	asideFor *mail.Outcome
	// apart: each recipient goes on by itself, though the same is to happen to all.
	split bool
	// copied: something of it goes on, in a copy or a dead letter.
	copied bool
}

// path is an address as it stands in MAIL or RCPT.
type path struct {
	address string
	utf8    bool
}

// fresh reports a message that comes from a producer, not from a copy of ours.
func (h *delivery) fresh(l wire.Lane) bool { _, ok := l.TenantOf(h.subject); return ok }

func (h *delivery) expired() bool { return h.lease != nil && h.lease.expired() }

// identify finds whose message it is without reading its body. Of a copy both
// headers and subject say it: what is settled by the one would be looked for by
// the other.
func (h *delivery) identify(lane wire.Lane) error {
	if !h.fresh(lane) {
		own, err := wire.ParseCopy(lane, h.header)
		if err == nil && own.Key.CopySubject(wire.CopyDue) != h.subject {
			err = fmt.Errorf("its headers name another subject, %s", own.Key.CopySubject(wire.CopyDue))
		}
		if err == nil {
			h.own = own
		}
		return err
	}
	h.own = wire.Copy{
		Key:      wire.Key{Lane: lane, Origin: wire.Origin(h.stored, h.seq), Recipient: wire.All},
		Enqueued: h.stored,
	}
	h.own.Key.ID = h.own.Key.Origin
	if id := h.msgID(); id != "" && schema.ValidateID(id) == nil {
		h.own.Key.ID = id
	}
	return nil
}

// msgID is the producer's Nats-Msg-Id: header names are compared without case,
// and of several the first in the order of their spelling counts, so that every
// reader finds the same.
func (h *delivery) msgID() (id string) {
	found := ""
	for name, v := range h.header {
		if len(v) > 0 && strings.EqualFold(name, schema.HeaderMsgID) && (found == "" || name < found) {
			found, id = name, v[0]
		}
	}
	return id
}

// read decodes the body and composes the message; what is wrong is in h.bad.
func (h *delivery) read(lane wire.Lane) error {
	header := map[string][]string(h.header)
	if !h.fresh(lane) {
		header = schema.ProducerHeaders(header)
	}
	e, err := schema.Decode(header, h.body)
	if err != nil {
		bad, ok := errors.AsType[*schema.EnvelopeError](err)
		if !ok {
			return err
		}
		h.bad = bad
		return nil
	}
	if h.fresh(lane) {
		if e.ID != "" {
			h.own.Key.ID = e.ID
		} else if err := schema.ValidateID(h.msgID()); err != nil {
			h.bad = &schema.EnvelopeError{Field: "header " + schema.HeaderMsgID, Problem: err.Error(), Reason: mail.ReasonBadEnvelope}
			return nil //nolint:nilerr // it is in h.bad
		}
	}
	h.envelope = e
	err = e.CheckRelay() // a worker's one relay has no name
	if tenant, fresh := lane.TenantOf(h.subject); err == nil && fresh {
		err = e.CheckTenant(tenant)
	}
	if err == nil && len(h.own.Key.RecipientsIn(e)) == 0 {
		err = fmt.Errorf("it is for recipient %s, which it does not have", h.own.Key.Recipient)
	}
	if err == nil {
		h.message, err = compose.Compose(e, h.own.Key.Origin, h.own.Enqueued)
	}
	if err == nil {
		err = h.address()
	}
	h.bad = faultOf(err)
	return nil
}

// faultOf is err as what is wrong with an envelope.
func faultOf(err error) *schema.EnvelopeError {
	if err == nil {
		return nil
	}
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); ok {
		return bad
	}
	return &schema.EnvelopeError{Problem: err.Error(), Reason: mail.ReasonBadEnvelope}
}

// address writes the addresses as SMTP says them, also those that are named again:
// an older worker's record may have one open.
func (h *delivery) address() (err error) {
	if h.from.address, h.from.utf8, err = compose.Path(h.envelope.ReversePath()); err != nil {
		return err
	}
	h.to = make(map[int]path)
	one, single := h.own.Key.Index()
	for i, address := range h.envelope.Named() {
		if single && i != one {
			continue
		}
		var p path
		if p.address, p.utf8, err = compose.Path(address); err != nil {
			return err
		}
		h.to[i] = p
	}
	return nil
}

// recipients are those that the line is for.
func (h *delivery) recipients() []mail.Recipient {
	if h.bad != nil || h.envelope == nil {
		return nil
	}
	return h.own.Key.RecipientsIn(h.envelope)
}

// standing is where the message stands with n attempts used up.
func (h *delivery) standing(now time.Time, n int, jitter float64) Standing {
	s := Standing{Attempts: n, Now: now, Began: h.own.Enqueued, Jitter: jitter}
	if h.envelope != nil {
		s.MaxAttempts, s.Expires = h.envelope.MaxAttempts, h.envelope.ExpiresAt
	}
	if h.own.Replays > 0 {
		// An operator asked for another round, whatever the producer once set.
		s.Began, s.Expires = h.own.Replayed, time.Time{}
	}
	if h.envelope != nil && h.envelope.SendAt.After(s.Began) {
		s.Began = h.envelope.SendAt
	}
	return s
}

// draft begins the record of this hop: recipients that no record calls
// delivered are open. A record of this hop that left some open is gone on with.
func (h *delivery) draft(now time.Time) *wire.Record {
	if h.seen != nil && h.seen.Generation == h.own.Generation {
		r := clone(h.seen)
		r.Event, r.Delivery = "", h.delivered
		return r
	}
	l := h.own.Key
	r := &wire.Record{
		V: wire.RecordVersion, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Recipient: l.Recipient, Generation: h.own.Generation,
		At: now.UTC(), Enqueued: h.own.Enqueued.UTC(), Size: int64(len(h.body)),
		Attempts: append([]wire.Attempt(nil), h.own.Log...), Counted: h.own.Attempts,
		Replays: h.own.Replays, Replayed: h.own.Replayed, DeadSeq: h.own.DeadSeq, Delivery: h.delivered,
	}
	if h.envelope != nil {
		r.From, r.Subject, r.Tags = h.envelope.ReversePath(), mail.Cut(h.envelope.Subject, 256), h.envelope.Tags
	}
	for _, to := range h.recipients() {
		r.Recipients = append(r.Recipients, wire.RecipientRecord{Address: to.Address, Index: to.Index, State: wire.StatePending})
	}
	keepDelivered(r, h.seen)
	return r
}

// keepDelivered takes over what another record of the line calls delivered.
func keepDelivered(r, from *wire.Record) {
	if from == nil {
		return
	}
	for _, old := range from.Recipients {
		if x := r.Find(old.Index); x != nil && old.State == wire.StateDelivered {
			*x = old
		}
	}
}

func clone(r *wire.Record) *wire.Record {
	c := *r
	c.Recipients = append([]wire.RecipientRecord(nil), r.Recipients...)
	c.Attempts = append([]wire.Attempt(nil), r.Attempts...)
	return &c
}

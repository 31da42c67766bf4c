package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/schema"
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
type hand struct {
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
	own schema.Copy
	// envelope and letter are set where bad is not.
	envelope *schema.Envelope
	letter   *compose.Letter
	bad      *schema.EnvelopeError
	// from and to are the addresses as SMTP says them, to by recipient.
	from path
	to   map[int]path

	// seen is the last record of the line, of whatever hop, and its sequence.
	seen    *schema.Record
	seenSeq uint64
	// aside are those who are not tried again in this hand, asideFor the outcome
	// that the last of them is aside for.
	aside    map[int]bool
	asideFor *schema.Outcome
	// apart: each recipient goes on by itself, though the same is to happen to all.
	apart bool
	// copied: something of it goes on, in a copy or a dead letter.
	copied bool
}

// path is an address as it stands in MAIL or RCPT.
type path struct {
	address string
	utf8    bool
}

// fresh reports a message that comes from a producer, not from a copy of ours.
func (h *hand) fresh(l schema.Lane) bool { return h.subject == l.SendSubject() }

func (h *hand) lapsed() bool { return h.lease != nil && h.lease.lapsed() }

// identify finds whose message it is without reading its body. Of a copy both
// headers and subject say it: what is settled by the one would be looked for by
// the other.
func (h *hand) identify(lane schema.Lane) error {
	if !h.fresh(lane) {
		own, err := schema.ParseCopy(lane, h.header)
		if err == nil && own.Line.DueSubject() != h.subject {
			err = fmt.Errorf("its headers name another subject, %s", own.Line.DueSubject())
		}
		if err == nil {
			h.own = own
		}
		return err
	}
	h.own = schema.Copy{
		Line:     schema.Line{Lane: lane, Origin: schema.Origin(h.stored, h.seq), Rcpt: schema.All},
		Enqueued: h.stored,
	}
	h.own.Line.ID = h.own.Line.Origin
	if id := h.msgID(); id != "" && schema.ValidateID(id) == nil {
		h.own.Line.ID = id
	}
	return nil
}

// msgID is the producer's Nats-Msg-Id: header names are compared without case,
// and of several the first in the order of their spelling counts, so that every
// reader finds the same.
func (h *hand) msgID() (id string) {
	found := ""
	for name, v := range h.header {
		if len(v) > 0 && strings.EqualFold(name, schema.HeaderMsgID) && (found == "" || name < found) {
			found, id = name, v[0]
		}
	}
	return id
}

// read decodes the body and composes the message; what is wrong is in h.bad.
func (h *hand) read(lane schema.Lane) error {
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
			h.own.Line.ID = e.ID
		} else if err := schema.ValidateID(h.msgID()); err != nil {
			h.bad = &schema.EnvelopeError{Field: "header " + schema.HeaderMsgID, Problem: err.Error(), Reason: schema.ReasonBadEnvelope}
			return nil //nolint:nilerr // it is in h.bad
		}
	}
	h.envelope = e
	err = e.CheckRelay() // a worker's one relay has no name
	if err == nil && len(e.Of(h.own.Line)) == 0 {
		err = fmt.Errorf("it is for recipient %s, which it does not have", h.own.Line.Rcpt)
	}
	if err == nil {
		h.letter, err = compose.Compose(e, h.own.Line.Origin, h.own.Enqueued)
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
	return &schema.EnvelopeError{Problem: err.Error(), Reason: schema.ReasonBadEnvelope}
}

// address writes the addresses as SMTP says them, also those that are named again:
// an older worker's record may have one open.
func (h *hand) address() (err error) {
	if h.from.address, h.from.utf8, err = compose.Path(h.envelope.ReversePath()); err != nil {
		return err
	}
	h.to = make(map[int]path)
	one, single := h.own.Line.Index()
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
func (h *hand) recipients() []schema.Recipient {
	if h.bad != nil || h.envelope == nil {
		return nil
	}
	return h.envelope.Of(h.own.Line)
}

// standing is where the message stands with n attempts used up.
func (h *hand) standing(now time.Time, n int, jitter float64) Standing {
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
func (h *hand) draft(now time.Time) *schema.Record {
	if h.seen != nil && h.seen.Hop == h.own.Hop {
		r := clone(h.seen)
		r.Event, r.Delivery = "", h.delivered
		return r
	}
	l := h.own.Line
	r := &schema.Record{
		V: schema.RecordVersion, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Line: l.Rcpt, Hop: h.own.Hop,
		At: now.UTC(), Enqueued: h.own.Enqueued.UTC(), Size: int64(len(h.body)),
		Attempts: append([]schema.Attempt(nil), h.own.Log...), Counted: h.own.Attempts,
		Replays: h.own.Replays, Replayed: h.own.Replayed, DeadSeq: h.own.DeadSeq, Delivery: h.delivered,
	}
	if h.envelope != nil {
		r.From, r.Subject, r.Tags = h.envelope.ReversePath(), schema.Cut(h.envelope.Subject, 256), h.envelope.Tags
	}
	for _, to := range h.recipients() {
		r.Recipients = append(r.Recipients, schema.RecipientRecord{Address: to.Address, Index: to.Index, State: schema.StateOpen})
	}
	keepDelivered(r, h.seen)
	return r
}

// keepDelivered takes over what another record of the line calls delivered.
func keepDelivered(r, from *schema.Record) {
	if from == nil {
		return
	}
	for _, old := range from.Recipients {
		if x := r.Find(old.Index); x != nil && old.State == schema.StateDelivered {
			*x = old
		}
	}
}

func clone(r *schema.Record) *schema.Record {
	c := *r
	c.Recipients = append([]schema.RecipientRecord(nil), r.Recipients...)
	c.Attempts = append([]schema.Attempt(nil), r.Attempts...)
	return &c
}

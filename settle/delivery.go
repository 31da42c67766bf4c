package settle

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// Handle tells the broker what becomes of a delivery.
type Handle interface {
	// Ack acknowledges and waits for the broker's answer.
	Ack(ctx context.Context) error
	// Requeue asks for the message to be delivered again after that pause, unless the
	// lease has expired.
	Requeue(pause time.Duration) error
	// Expired reports that the lease has expired: another worker may have the
	// message.
	Expired() bool
}

// Delivery is one message handed to a worker by the broker. Its exported fields
// but GoesOn are the caller's to set. While it is settled it belongs to the settling
// goroutine.
type Delivery struct {
	Lane     wire.Lane
	Stream   string
	Subject  string
	Sequence uint64
	Stored   time.Time
	Header   map[string][]string
	Body     []byte
	// Times counts deliveries of the message, from 1; 0 if package consumer's sweep
	// found it: no consumer delivers it any more.
	Times int
	// Handle is nil for what the sweep found: it has no lease, and can only be
	// deleted by its sequence.
	Handle Handle
	// GoesOn is set if something of the message goes on, as a copy or a dead letter, or
	// it was requeued with a record: then settling it made no room in the store.
	GoesOn bool

	// stopping is closed when no more is fetched.
	stopping <-chan struct{}
	// copy holds the key and the history. They are in the headers of a copy; a fresh
	// message is of generation 0 and has no history.
	copy wire.Copy
	// heldBack: the relay refuses all mail of the sender, and this was not tried, or a rule of
	// the operator puts this one off.
	heldBack bool
	// unknownGeneration: the headers of a copy cannot be read or contradict its
	// subject. The generation follows from the last record.
	unknownGeneration bool

	// bad is what is wrong with the message; nil if it may be sent.
	bad *schema.EnvelopeError
	// decoded is set once decoding was tried. envelope is then set: if bad is not nil,
	// it may be only what could be read. message, from and to are set if bad is nil.
	decoded  bool
	envelope *schema.Envelope
	message  *compose.Message
	// from and to are the addresses in the form of MAIL and RCPT, to by index.
	from compose.Path
	to   map[int]compose.Path

	// last is the last record of the key that this delivery knows, of whatever
	// generation, and lastSeq its sequence, 0 for none.
	last    *wire.Record
	lastSeq uint64
}

// Key says whose message it is. It is empty before the delivery was settled.
func (d *Delivery) Key() wire.Key { return d.copy.Key }

// fresh reports a message of a producer, not a copy of ours.
func (d *Delivery) fresh() bool { _, ok := d.Lane.TenantOf(d.Subject); return ok }

// leaseExpired reports that another worker may have the message.
func (d *Delivery) leaseExpired() bool { return d.Handle != nil && d.Handle.Expired() }

// identify finds whose message it is without decoding its body. The headers of a
// copy and its subject must name the same key, or the message would be recorded under
// one and looked up under the other. If they differ, d.bad says so and the key is that
// of the subject. If that has none, the key is made from time and sequence, as for a
// fresh message.
func (d *Delivery) identify() {
	d.copy = wire.Copy{Key: wire.FreshKey(d.Lane, d.Stored, d.Sequence), Enqueued: d.Stored}
	if d.fresh() {
		d.copy.Key.ID = cmp.Or(schema.HeaderID(d.Header), d.copy.Key.ID)
		return
	}
	c, err := wire.ParseCopy(d.Lane, d.Header)
	if err == nil && c.Key.CopySubject(wire.CopyDue) != d.Subject {
		err = fmt.Errorf("its headers name another subject, %s", c.Key.CopySubject(wire.CopyDue))
	}
	if err == nil {
		d.copy = c
		return
	}
	d.bad, d.unknownGeneration = schema.AsEnvelopeError(err), true
	if k, err := wire.ParseKey(d.Subject); err == nil {
		d.copy.Key = k
		if at, ok := wire.OriginTime(k.Origin); ok {
			d.copy.Enqueued = at
		}
	}
}

// read decodes the body and composes the message. What is wrong with it is in
// d.bad.
func (d *Delivery) read() {
	header := d.Header
	if !d.fresh() {
		header = schema.ProducerHeaders(header)
	}
	d.decoded = true
	e, err := schema.Decode(header, d.Body)
	if err != nil {
		e = schema.Salvage(header, d.Body)
	}
	d.envelope = e // known even if it is refused
	if idErr := d.adoptID(); err == nil {
		err = idErr
	}
	if err == nil {
		err = d.compose()
	}
	if err != nil {
		d.bad = schema.AsEnvelopeError(err)
	}
}

// adoptID takes the id of a fresh message from its envelope, also if that is refused:
// people look for it by this id, and each delivery that may decode it finds the same.
// It checks what only its subject and headers tell.
func (d *Delivery) adoptID() error {
	tenant, fresh := d.Lane.TenantOf(d.Subject)
	if !fresh {
		return nil
	}
	if d.envelope.ID != "" {
		d.copy.Key.ID = d.envelope.ID
	} else if err := schema.ValidateID(schema.MsgID(d.Header)); err != nil {
		return &schema.EnvelopeError{Field: "header " + schema.HeaderMsgID, Problem: err.Error(), Reason: mail.ReasonBadEnvelope}
	}
	return d.envelope.CheckTenant(tenant)
}

// compose makes the message and its addresses.
func (d *Delivery) compose() (err error) {
	if err := d.envelope.CheckRelay(); err != nil { // the one relay of a worker has no name yet
		return err
	}
	if len(d.copy.Key.RecipientsIn(d.envelope)) == 0 {
		return fmt.Errorf("it is for recipient %s, which it does not have", d.copy.Key.Recipient)
	}
	if d.message, err = compose.Compose(d.envelope, d.copy.Key.Origin, d.copy.Enqueued); err == nil {
		d.from, d.to, err = compose.Paths(d.envelope)
	}
	return err
}

// standing is what the policy needs to know of the message with n attempts used.
func (d *Delivery) standing(now time.Time, n int, jitter float64) Standing {
	s := Standing{Attempts: n, Now: now, Began: d.copy.Enqueued, Jitter: jitter}
	if d.envelope != nil {
		s.MaxAttempts, s.Expires = d.envelope.MaxAttempts, d.envelope.ExpiresAt
	}
	if d.copy.Replays > 0 {
		// An operator asked for another round, whatever the producer once set.
		s.Began, s.Expires = d.copy.Replayed, time.Time{}
	}
	if d.envelope != nil && d.envelope.SendAt.After(s.Began) {
		s.Began = d.envelope.SendAt
	}
	return s
}

// maxMessageID bounds the Message-ID in a record. Nobody looks for a longer one.
const maxMessageID = 255

// draft begins the record of this generation: recipients that no record calls
// delivered are pending. A record of this generation that left some pending is
// continued.
func (d *Delivery) draft(now time.Time) *wire.Record {
	if d.last != nil && d.last.Generation == d.copy.Generation {
		r := d.last.Clone()
		r.Event, r.Delivery, r.At = "", d.Times, now.UTC()
		return r
	}
	r := wire.NewRecord(d.copy, now)
	r.Size, r.Delivery = int64(len(d.Body)), d.Times
	if d.envelope != nil {
		r.From, r.Subject, r.Tags = d.envelope.ReversePath(), mail.Cut(d.envelope.Subject, 256), d.envelope.Tags
	}
	if m := d.message; m != nil && len(m.MessageID) <= maxMessageID && !strings.HasPrefix(m.MessageID, d.copy.Key.Origin) {
		r.MessageID = m.MessageID
	}
	if d.bad == nil {
		for _, to := range d.copy.Key.RecipientsIn(d.envelope) {
			r.Recipients = append(r.Recipients, wire.RecipientRecord{Address: to.Address, Index: to.Index, State: wire.StatePending})
		}
	}
	r.TakeOver(d.last)
	return r
}

package settle

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// attempt is step 2: transactions for those who are pending. Between two of them it
// records, but not after a hang-up: no dot was sent. If the relay or the worker was at
// fault, the message is requeued: attempt returns nil if rec schedules it.
func (s *Settler) attempt(span Span, d *Delivery, rec *wire.Record) error {
	for {
		batch := d.nextBatch(rec, s.cfg.RecipientsPerTransaction)
		if len(batch) == 0 {
			if rec.Has(wire.StatePending) { // only those who were set aside
				return s.requeue(span.Settle, d, rec, d.hangUp)
			}
			return nil
		}
		tx := s.Relay.Deliver(span.Work, d.transaction(batch))
		switch stopped := s.apply(d, rec, batch, tx); {
		case stopped != nil:
			if !d.setAside(batch, tx) {
				return s.requeue(span.Settle, d, rec, stopped)
			}
		case len(d.nextBatch(rec, 1)) > 0: // decide makes the last record
			rec.Event = wire.EventDeferred
			if err := s.record(span.Settle, d, rec); err != nil {
				return err
			}
			rec.Event = ""
		}
	}
}

// maxHangUps is the number of hang-ups at recipients that ends an attempt: each costs
// a session, and a relay may hang up at all of them.
const maxHangUps = 4

// setAside leaves out of this delivery a recipient at whom the relay closed the
// session, so that the others do not wait for it. It returns false if the attempt
// has to end: that happened too often, or the relay is down for all.
func (d *Delivery) setAside(batch []mail.Recipient, tx mail.Transaction) bool {
	i := slices.IndexFunc(tx.Outcomes, isHangUp)
	if i < 0 || tx.Down {
		return false
	}
	d.aside, d.hangUp = append(d.aside, batch[i].Index), &tx.Outcomes[i]
	return len(d.aside) < maxHangUps
}

// isHangUp reports that the relay closed the session at a recipient.
func isHangUp(o mail.Outcome) bool { return o.Class == mail.Requeued && o.Stage == mail.StageRcpt }

// oneByOneFrom is the generation from which on a message at whose recipients the relay
// keeps hanging up is sent to one recipient at a time, beginning with another one
// each time. The log is bounded and forgets at whom the relay hung up, so that
// otherwise the same recipients could come first for ever.
const oneByOneFrom = 6

// nextBatch is the recipients of the next transaction, at most limit. Those at whom
// the relay hung up come after the others and apart from them: the others must not
// wait for them. Those who need SMTPUTF8 go apart: a relay without it must not fail
// the others.
func (d *Delivery) nextBatch(rec *wire.Record, limit int) []mail.Recipient {
	var pending []int
	for _, x := range rec.Recipients {
		if x.State == wire.StatePending && !slices.Contains(d.aside, x.Index) {
			pending = append(pending, x.Index)
		}
	}
	hangUps, n, first := rec.HangUps(), len(rec.Recipients), 0
	if rec.Generation >= oneByOneFrom && len(hangUps) >= maxHangUps {
		limit, first = 1, rec.Generation*maxHangUps%n
	}
	slices.SortStableFunc(pending, func(a, b int) int {
		return cmp.Or(cmp.Compare(hangUps[a], hangUps[b]), cmp.Compare((a-first+n)%n, (b-first+n)%n))
	})
	var batch []mail.Recipient
	for _, i := range pending {
		head := i
		if len(batch) > 0 {
			head = batch[0].Index
		}
		if len(batch) < limit && d.to[i].UTF8 == d.to[head].UTF8 && hangUps[i] == hangUps[head] {
			batch = append(batch, mail.Recipient{Index: i, Address: d.to[i].Address})
		}
	}
	return batch
}

func (d *Delivery) transaction(to []mail.Recipient) mail.Message {
	return mail.Message{
		ID: d.copy.Key.ID, From: d.from.Address, Recipients: to,
		Body: d.message, Size: d.message.Size, EightBit: d.message.EightBit,
		UTF8:   d.message.UTF8 || d.from.UTF8 || d.to[to[0].Index].UTF8,
		Permit: d.permit,
	}
}

// errExpired is the answer to a relay that asks before the final dot.
var errExpired = errors.New("the lease on the message has expired: another worker may have it")

// permit keeps the final dot from being sent once the lease has expired.
func (d *Delivery) permit() error {
	if d.leaseExpired() {
		return errExpired
	}
	return nil
}

// apply enters the outcomes of a transaction into rec. It returns the last outcome for
// which the relay or the worker was at fault, or one of its own if nothing was decided;
// nil if the attempt may go on.
func (s *Settler) apply(d *Delivery, rec *wire.Record, to []mail.Recipient, tx mail.Transaction) (stopped *mail.Outcome) {
	n := d.copy.Attempts + 1
	stand := d.standing(s.Now(), n, d.jitter())
	counted, moved := false, false
	for i, o := range tx.Outcomes {
		s.metrics.outcomes.WithLabelValues(string(o.Class)).Inc()
		counted = counted || o.Class.Counted()
		if o.Class == mail.Requeued {
			stopped = &tx.Outcomes[i]
			continue
		}
		decision := s.cfg.Decide(o.Class, stand)
		if decision.State == wire.StatePending {
			continue
		}
		moved = true
		x := rec.Find(to[i].Index)
		*x = wire.RecipientRecord{
			Address: x.Address, Index: x.Index, State: decision.State, Reason: decision.Reason,
			Code: o.Code, Enhanced: o.Enhanced, Reply: mail.Sentence(o.Reply, mail.MaxReply), Relay: tx.Relay, QueueID: o.QueueID,
		}
		if decision.State == wire.StateScheduled && rec.Due.Before(stand.Now) { // one time for all
			rec.Due = decision.Due
		}
	}
	if counted {
		rec.Counted = n
	}
	rec.At = stand.Now.UTC()
	rec.Attempts = append(rec.Attempts, wire.NewAttempt(rec.Counted, counted, to, tx))
	if stopped == nil && !moved {
		stopped = &mail.Outcome{Class: mail.Requeued, Stage: mail.StageLocal, Reply: "the relay took no recipient and refused none"}
	}
	return stopped
}

// pause is the pause after a fault of the relay: the first is PauseMin, each next one
// twice as long, up to PauseMax.
func (s *Settler) pause(times int) time.Duration {
	return min(s.cfg.PauseMin<<min(max(times-1, 0), 16), s.cfg.PauseMax)
}

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
//
// If the relay closed the session at a recipient, the others are tried without that
// one, who has to wait for another delivery. maxHangUps of these end the attempt.
func (s *Settler) attempt(span Span, d *Delivery, rec *wire.Record) error {
	began := rec.Clone()
	why := "" // in the words of the relay or the worker, whoever was last at fault
	for {
		aside := rec.HungUpSince(began)
		batch := d.nextBatch(rec, aside, s.cfg.RecipientsPerTransaction)
		switch {
		case !rec.Has(wire.StatePending):
			return nil
		case len(batch) == 0, len(aside) >= maxHangUps:
			return s.requeue(span.Settle, d, rec, len(aside) > 0, why)
		}
		tx := s.Relay.Deliver(span.Work, d.transaction(batch))
		switch fault := s.apply(d, rec, batch, tx); {
		case fault != nil:
			why = wire.GroupedOutcome{Code: fault.Code, Enhanced: fault.Enhanced, Reply: fault.Reply}.Words()
			if hungUp := len(rec.HungUpSince(began)) > len(aside); !hungUp {
				d.heldBack = tx.Later
				return s.requeue(span.Settle, d, rec, len(aside) > 0 || tx.Later, why)
			}
		case len(d.nextBatch(rec, aside, 1)) > 0: // more follow, and decide makes the last record
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

// nextBatch is the recipients of the next transaction, at most limit, without those who
// are set aside. Those at whom a relay hung up less often come first and go together:
// they must not wait for the others. So each gets a turn, even if the relay hangs up at
// all of them. Those who need SMTPUTF8 go apart: a relay without it must not fail the
// others.
func (d *Delivery) nextBatch(rec *wire.Record, aside []int, limit int) (batch []mail.Recipient) {
	var pending []wire.RecipientRecord
	for _, x := range rec.Recipients {
		if x.State == wire.StatePending && !slices.Contains(aside, x.Index) {
			pending = append(pending, x)
		}
	}
	slices.SortStableFunc(pending, func(a, b wire.RecipientRecord) int { return cmp.Compare(a.HangUps, b.HangUps) })
	for _, x := range pending {
		first := pending[0]
		if len(batch) < limit && x.HangUps == first.HangUps && d.to[x.Index].UTF8 == d.to[first.Index].UTF8 {
			batch = append(batch, mail.Recipient{Index: x.Index, Address: d.to[x.Index].Address})
		}
	}
	return batch
}

func (d *Delivery) transaction(to []mail.Recipient) mail.Message {
	return mail.Message{
		ID: d.copy.Key.ID, Key: d.copy.Key.RecordSubject(), From: d.from.Address, Recipients: to,
		Body: d.message, Size: d.message.Size, EightBit: d.message.EightBit,
		UTF8:   d.message.UTF8 || d.from.UTF8 || d.to[to[0].Index].UTF8,
		Permit: d.permit,
	}
}

// errLeaseExpired is what permit tells [Relay], which asks it before the final dot.
var errLeaseExpired = errors.New("the lease on the message has expired: another worker may have it")

// permit keeps the final dot from being sent once the lease has expired.
func (d *Delivery) permit() error {
	if d.leaseExpired() {
		return errLeaseExpired
	}
	return nil
}

// apply enters the outcomes of a transaction into rec. It returns the last outcome for
// which the relay or the worker was at fault, or one of its own if nothing was decided;
// nil if there is none. A session that was closed at a recipient counts as a hang-up,
// unless the relay is down, which is its own fault. The count stays whatever becomes
// of the recipient: a relay that defers the recipient this time may hang up the next.
func (s *Settler) apply(d *Delivery, rec *wire.Record, to []mail.Recipient, tx mail.Transaction) (fault *mail.Outcome) {
	n := d.copy.Attempts + 1
	stand := d.standing(s.Now(), n, d.jitter())
	counted, moved := false, false
	for i, o := range tx.Outcomes {
		s.metrics.outcomes.WithLabelValues(string(o.Class)).Inc()
		counted = counted || o.Class.Counted()
		x := rec.Find(to[i].Index)
		if o.Class == mail.Requeued {
			fault = &tx.Outcomes[i]
			if o.Stage == mail.StageRcpt && !tx.Down && !tx.Later {
				x.HangUps++
			}
			continue
		}
		decision := s.cfg.Decide(o.Class, stand)
		if decision.State == wire.StatePending {
			continue
		}
		moved = true
		*x = wire.RecipientRecord{
			Address: x.Address, Index: x.Index, HangUps: x.HangUps, State: decision.State, Reason: decision.Reason,
			Code: o.Code, Enhanced: o.Enhanced, Reply: mail.Sentence(o.Reply, mail.MaxReply), Relay: tx.Relay, QueueID: o.QueueID,
		}
		if decision.State == wire.StateScheduled && rec.Due.Before(stand.Now) { // all share one due time
			rec.Due = decision.Due
		}
	}
	if counted {
		rec.Counted = n
	}
	rec.At = stand.Now.UTC()
	rec.Attempts = wire.AppendAttempt(rec.Attempts, wire.NewAttempt(rec.Counted, counted, to, tx))
	if fault == nil && !moved {
		fault = &mail.Outcome{Class: mail.Requeued, Stage: mail.StageLocal, Reply: "the relay took no recipient and refused none"}
	}
	return fault
}

// pause is the pause after a fault of the relay: the first is PauseMin, each next one
// twice as long, up to PauseMax.
func (s *Settler) pause(times int) time.Duration {
	return min(s.cfg.PauseMin<<min(max(times-1, 0), 16), s.cfg.PauseMax)
}

package consumer

import (
	"context"
	"slices"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// attempt is step 2: transactions for those who are open, and after each but
// the last a record. Where the relay or the worker was at fault the message is
// handed back and the error says so.
func (c *Consumer) attempt(work, settling context.Context, h *delivery, rec *wire.Record) error {
	began := len(rec.Attempts)
	for {
		batch := h.pendingOf(rec, c.cfg.RecipientsPerTransaction)
		tx := c.Relay.Deliver(work, c.message(h, batch))
		open := c.apply(h, rec, batch, tx)
		if open != nil && c.Relay.Up() && h.setAside(rec, batch, tx) {
			continue
		}
		if open == nil && len(h.pendingOf(rec, 1)) == 0 {
			open = h.asideFor // nil where nobody is
		}
		switch {
		case open != nil:
			return c.requeue(settling, h, rec, *open, began)
		case !rec.Has(wire.StatePending):
			return nil
		}
		rec.Event = wire.EventDeferred
		if err := c.record(settling, h, rec); err != nil {
			return err
		}
		rec = c.reopen(h, rec)
		began = len(rec.Attempts)
	}
}

// mostAside is how many recipients are left out of the company of the others:
// each costs a session, and a relay may hang up at all of them.
const mostAside = 3

// setAside leaves a recipient at whom the relay closed the session out of what
// this hand tries from now on. It reports that there are others to try.
func (h *delivery) setAside(rec *wire.Record, batch []mail.Recipient, tx mail.Transaction) bool {
	i := slices.IndexFunc(tx.Outcomes, func(o mail.Outcome) bool {
		return o.Class == mail.Requeued && o.Stage == mail.StageRcpt
	})
	if i < 0 || len(h.aside) == mostAside {
		return false
	}
	if h.aside == nil {
		h.aside = make(map[int]bool)
	}
	h.aside[batch[i].Index], h.asideFor = true, &tx.Outcomes[i]
	return len(h.pendingOf(rec, 1)) > 0
}

// reopen goes on with the draft after it was recorded with some still open.
func (c *Consumer) reopen(h *delivery, rec *wire.Record) *wire.Record {
	rec.Event = ""
	h.seen = clone(rec)
	return rec
}

// openOf are the next recipients to send to. Those who need SMTPUTF8 go apart:
// a relay without it is not to fail the others.
func (h *delivery) pendingOf(rec *wire.Record, most int) []mail.Recipient {
	var batch []mail.Recipient
	var utf8 bool
	for _, x := range rec.Recipients {
		if x.State != wire.StatePending || h.aside[x.Index] || len(batch) == most {
			continue
		}
		p := h.to[x.Index]
		if len(batch) == 0 {
			utf8 = p.utf8
		}
		if p.utf8 == utf8 {
			batch = append(batch, mail.Recipient{Index: x.Index, Address: p.address})
		}
	}
	return batch
}

func (c *Consumer) message(h *delivery, to []mail.Recipient) mail.Message {
	return mail.Message{
		ID: h.own.Key.ID, From: h.from.address, Recipients: to,
		Body: h.message, Size: h.message.Size, EightBit: h.message.EightBit,
		UTF8:   h.message.UTF8 || h.from.utf8 || h.to[to[0].Index].utf8,
		Permit: h.permit,
	}
}

// permit stops a hand whose lease has lapsed from sending the final dot.
func (h *delivery) permit() error {
	if h.expired() {
		return errExpired
	}
	return nil
}

// apply decides on the outcomes of a transaction. It returns the outcome that
// stopped it where the relay or the worker was at fault, or nothing came forward.
func (c *Consumer) apply(h *delivery, rec *wire.Record, to []mail.Recipient, tx mail.Transaction) *mail.Outcome {
	n := h.own.Attempts + 1
	stand := h.standing(c.Now(), n, jitterOf(h))
	var stopped *mail.Outcome
	counted, moved := false, false
	for i, o := range tx.Outcomes {
		counted = counted || o.Class.Counted()
		if o.Class == mail.Requeued {
			stopped = &tx.Outcomes[i]
			continue
		}
		d := c.policy.Decide(o.Class, stand)
		if d.State == wire.StatePending {
			continue
		}
		moved = true
		x := rec.Find(to[i].Index)
		*x = wire.RecipientRecord{
			Address: x.Address, Index: x.Index, State: d.State, Reason: d.Reason,
			Code: o.Code, Enhanced: o.Enhanced, Reply: mail.Sentence(o.Reply, mail.MaxReply), Relay: tx.Relay, QueueID: o.QueueID,
		}
		if d.State == wire.StateScheduled && rec.Due.Before(stand.Now) {
			rec.Due = d.Due
		}
	}
	if counted {
		rec.Counted = n
	}
	rec.At = stand.Now.UTC()
	rec.Attempts = append(rec.Attempts, wire.NewAttempt(rec.Counted, counted, to, tx))
	c.metrics.transaction(tx)
	if stopped == nil && !moved {
		stopped = &mail.Outcome{Class: mail.Requeued, Stage: mail.StageLocal, Reply: "the relay took no recipient and refused none"}
	}
	return stopped
}

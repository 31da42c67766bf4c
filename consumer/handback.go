package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// errLapsed is what smtp is told instead of a permission.
var errExpired = errors.New("the lease on the message has lapsed: another worker may have it")

// lastNak is the number of deliveries from which on a message is not handed
// back with a nak but goes on as a schedule: deliveries are bounded, and
// rollouts must never look like crashes.
const lastNak = 8

// handBack returns a message that the relay or the worker failed, not counting
// an attempt. What other transactions brought is recorded first, the rest open.
// It always returns an error, or with a schedule nil, to be recorded as such.
func (c *Consumer) requeue(ctx context.Context, h *delivery, rec *wire.Record, why mail.Outcome, began int) error {
	c.metrics.requeued.Inc()
	// It may be a recipient that the relay hangs up at, again and again, and mail
	// that is handed back holds one of the places that its lane has.
	blamed := why.Stage == mail.StageRcpt && (h.delivered > 1 || h.own.Generation > 0)
	if (h.requeuedOften() || blamed) && !h.expired() {
		due := c.Now().Add(c.pause(h.own.Generation + 1))
		if end := c.policy.deadline(h.standing(due, 0, 0)); due.After(end) {
			due = end
		}
		setPending(rec, wire.StateScheduled, "")
		rec.Event = wire.EventRequeued
		h.split = blamed && h.own.Generation >= splitFrom && len(rec.Recipients) > 1 && len(rec.Recipients)*len(h.body) <= splitMost
		if rec.Due.Before(c.Now()) {
			rec.Due = due
		}
		return nil
	}
	if len(rec.Attempts) > began && progress(rec, h.seen) || h.requeuedOften() {
		// The record also says that this delivery ended without a crash.
		rec.Event = wire.EventRequeued
		if err := c.record(ctx, h, rec); err != nil {
			return err
		}
	}
	c.log.Debug("message handed back", "id", h.own.Key.ID, "lane", h.own.Key.Lane, "reply", why.Reply)
	return c.nak(h, c.pause(h.delivered))
}

// From the hop apartFrom on, some two minutes, the recipients of a mail go on each by
// itself where the relay closes the session at some of them: at more than a hand
// sets aside, and the others are not to wait for as long as they are in their
// company. Their copies may take apartMost bytes: it may also be that the relay
// wants to be left alone, and the store is not to fill up over it.
const (
	splitFrom = 6
	splitMost = 64 << 20
)

// handedBackOften reports a message that is not handed back by a nak any more.
func (h *delivery) requeuedOften() bool { return h.delivered >= lastNak }

// progress reports whether the draft knows more than the last record.
func progress(rec, seen *wire.Record) bool {
	for _, x := range rec.Recipients {
		if x.State == wire.StatePending {
			continue
		}
		var old *wire.RecipientRecord
		if seen != nil {
			old = seen.Find(x.Index)
		}
		if old == nil || old.State != x.State {
			return true
		}
	}
	return false
}

// nak hands the message back, to be delivered again after that pause, unless
// another hand may have it.
func (c *Consumer) nak(h *delivery, pause time.Duration) error {
	if h.msg == nil || h.expired() {
		return errLeft
	}
	if err := h.msg.NakWithDelay(pause); err != nil {
		c.log.Debug("hand message back", "id", h.own.Key.ID, "error", err)
	}
	return errLeft
}

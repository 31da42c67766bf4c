package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/schema"
)

// errLapsed is what smtp is told instead of a permission.
var errLapsed = errors.New("the lease on the message has lapsed: another worker may have it")

// lastNak is the number of deliveries from which on a message is not handed
// back with a nak but goes on as a schedule: deliveries are bounded, and
// rollouts must never look like crashes.
const lastNak = 8

// handBack returns a message that the relay or the worker failed, not counting
// an attempt. What other transactions brought is recorded first, the rest open.
// It always returns an error, or with a schedule nil, to be recorded as such.
func (c *Consumer) handBack(ctx context.Context, h *hand, rec *schema.Record, why schema.Outcome, began int) error {
	c.metrics.handedBack.Inc()
	// It may be a recipient that the relay hangs up at, again and again, and mail
	// that is handed back holds one of the places that its lane has.
	blamed := why.Stage == schema.StageRcpt && (h.delivered > 1 || h.own.Hop > 0)
	if (h.handedBackOften() || blamed) && !h.lapsed() {
		due := c.Now().Add(c.pause(h.own.Hop + 1))
		if end := c.policy.deadline(h.standing(due, 0, 0)); due.After(end) {
			due = end
		}
		setOpen(rec, schema.StateLater, "")
		rec.Event = schema.EventDelayed
		h.apart = blamed && h.own.Hop >= apartFrom && len(rec.Recipients) > 1 && len(rec.Recipients)*len(h.body) <= apartMost
		if rec.Due.Before(c.Now()) {
			rec.Due = due
		}
		return nil
	}
	if len(rec.Attempts) > began && progress(rec, h.seen) || h.handedBackOften() {
		// The record also says that this delivery ended without a crash.
		rec.Event = schema.EventDelayed
		if err := c.record(ctx, h, rec); err != nil {
			return err
		}
	}
	c.log.Debug("message handed back", "id", h.own.Line.ID, "lane", h.own.Line.Lane, "reply", why.Reply)
	return c.nak(h, c.pause(h.delivered))
}

// From the hop apartFrom on, some two minutes, the recipients of a mail go on each by
// itself where the relay closes the session at some of them: at more than a hand
// sets aside, and the others are not to wait for as long as they are in their
// company. Their copies may take apartMost bytes: it may also be that the relay
// wants to be left alone, and the store is not to fill up over it.
const (
	apartFrom = 6
	apartMost = 64 << 20
)

// handedBackOften reports a message that is not handed back by a nak any more.
func (h *hand) handedBackOften() bool { return h.delivered >= lastNak }

// progress reports whether the draft knows more than the last record.
func progress(rec, seen *schema.Record) bool {
	for _, x := range rec.Recipients {
		if x.State == schema.StateOpen {
			continue
		}
		var old *schema.RecipientRecord
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
func (c *Consumer) nak(h *hand, pause time.Duration) error {
	if h.msg == nil || h.lapsed() {
		return errLeft
	}
	if err := h.msg.NakWithDelay(pause); err != nil {
		c.log.Debug("hand message back", "id", h.own.Line.ID, "error", err)
	}
	return errLeft
}

package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/schema"
)

// crashLoop is the number of deliveries without a record after which a message
// is held to kill workers, and is buried without being read.
const crashLoop = 16

// Ways a message leaves the hand unacked. None of them is a fault to report:
// the broker hands the message out again, or another hand settles it.
var (
	// errLeft: nothing more may be done with it here.
	errLeft = errors.New("left to another hand")
	// errGone: it is no longer in its stream, and we are no longer its only hand.
	errGone = errors.New("no longer in its stream")
	// errAgain: another hand recorded first; look once more.
	errAgain = errors.New("another hand recorded first")
)

// settle takes a message through the five steps. work ends when what is under
// way has to stop, settling a little later, so that what was done is written.
// It returns nil where the message is acked.
func (c *Consumer) settle(work, settling context.Context, lane schema.Lane, h *hand) error {
	if err := h.identify(lane); err != nil {
		return c.buryUnread(settling, lane, h, schema.ReasonBadEnvelope, err.Error())
	}
	if h.delivered >= crashLoop {
		if settled, err := c.settleCrashLoop(settling, lane, h); settled || err != nil {
			return err
		}
	}
	if err := h.read(lane); err != nil {
		return err
	}
	for {
		done, err := c.look(settling, h)
		if err != nil {
			return err
		}
		if done != nil {
			return c.finish(settling, h, done, true)
		}
		if h.seen != nil && h.seen.Hop > h.own.Hop {
			return c.ack(settling, h)
		}
		rec, err := c.decide(work, settling, h)
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil {
			return err
		}
		return c.finish(settling, h, rec, false)
	}
}

// finish carries on what lives of a record and acks. again is set where the
// record was found, not just written: part of it may have been done before.
func (c *Consumer) finish(ctx context.Context, h *hand, rec *schema.Record, again bool) error {
	carry := func() error { return c.carry(ctx, h, rec, again) }
	ack := func() error { return c.ack(ctx, h) }
	switch {
	case copyAfterAck:
		carry, ack = ack, carry
	case endBeforeAck:
		ack = func() error { <-ctx.Done(); return errLeft }
	}
	if err := carry(); err != nil {
		return err
	}
	if err := ack(); err != nil {
		return err
	}
	if !again {
		c.report(h, rec)
	}
	return nil
}

// decide brings the message to a record with nothing open, by an attempt where
// one is due. It returns errLeft where the message was handed back.
func (c *Consumer) decide(work, settling context.Context, h *hand) (*schema.Record, error) {
	now := c.Now()
	rec := h.draft(now)
	stand := h.standing(now, h.own.Attempts+1, 0)
	switch {
	case h.bad != nil:
		rec.Whole, rec.Reason, rec.Error = schema.StateDead, h.bad.Reason, schema.Sentence(h.bad.Error(), schema.MaxError)
	case !rec.Has(schema.StateOpen):
		// Everything was accepted while this copy waited.
	case h.early(now) && !c.policy.Expired(stand):
		setOpen(rec, schema.StateLater, "")
		rec.Due, rec.Event = h.envelope.SendAt, schema.EventScheduled
	case h.delivered == 0:
		setOpen(rec, schema.StateDead, schema.ReasonStranded)
		rec.Error = "no consumer would have handed the message out again"
	case c.policy.Expired(stand):
		setOpen(rec, schema.StateDead, schema.ReasonExpired)
	default:
		if err := c.attempt(work, settling, h, rec); err != nil {
			return nil, err
		}
	}
	conclude(rec)
	if h.apart {
		rec.Whole = ""
	}
	return rec, c.record(settling, h, rec)
}

// early reports mail whose time has not come: fresh mail, or a replay of what
// died unread or stranded. A copy that was scheduled for it may come a moment
// before it, by our clock.
func (h *hand) early(now time.Time) bool {
	if h.own.Hop > 0 {
		now = now.Add(clocksApart)
	}
	return h.envelope.SendAt.After(now)
}

// clocksApart is by how much our clock may be behind the broker's.
const clocksApart = time.Second

func setOpen(rec *schema.Record, s schema.State, why schema.Reason) {
	for i := range rec.Recipients {
		if rec.Recipients[i].State == schema.StateOpen {
			rec.Recipients[i].State, rec.Recipients[i].Reason = s, why
		}
	}
}

// conclude says in the record whether its recipients go on together, and names
// what happened by the one of them that matters most to a person.
func conclude(rec *schema.Record) {
	if state, why, same := rec.Uniform(); same {
		rec.Whole, rec.Reason = state, why
	}
	if rec.Event != "" {
		return
	}
	rec.Event = schema.EventDelivered
	for _, x := range rec.Recipients {
		switch x.State {
		case schema.StateDead:
			rec.Event = x.Reason.Event()
			return
		case schema.StateLater:
			if rec.Event != schema.EventUncertain {
				rec.Event = rec.Waits(x.Index)
			}
		}
	}
	if rec.Whole == schema.StateDead {
		rec.Event = rec.Reason.Event()
	}
}

// settleCrashLoop goes on from a record, where a worker came so far before it
// died; else the message is buried as it lies. False where it is no crash loop
// after all: a hand has recorded since that it only had to let go.
func (c *Consumer) settleCrashLoop(ctx context.Context, lane schema.Lane, h *hand) (settled bool, err error) {
	done, err := c.lookUnread(ctx, lane, h)
	switch {
	case err != nil:
		return false, err
	case done != nil:
		return true, c.finish(ctx, h, done, true)
	case h.seen != nil && h.seen.Hop > h.own.Hop:
		return true, c.ack(ctx, h)
	}
	n := h.delivered
	if h.seen != nil && h.seen.Hop == h.own.Hop {
		n -= h.seen.Delivery
	}
	if n < crashLoop {
		return false, nil
	}
	return true, c.buryUnread(ctx, lane, h, schema.ReasonCrashLoop,
		fmt.Sprintf("delivered %d times without a record: it may kill workers, so it was not read", n))
}

// buryUnread buries a message whose body nobody reads.
func (c *Consumer) buryUnread(ctx context.Context, lane schema.Lane, h *hand, why schema.Reason, sentence string) error {
	if h.own.Line.Origin == "" {
		// A copy whose headers cannot be believed; its subject names it. What
		// is on no line of ours gets one of its own.
		l, err := schema.ParseLine(h.subject)
		if err != nil {
			own := schema.Origin(h.stored, h.seq)
			l = schema.Line{Lane: lane, ID: own, Origin: own, Rcpt: schema.All}
		}
		h.own = schema.Copy{Line: l, Enqueued: h.stored}
	}
	if h.seen == nil {
		var err error
		if h.seen, h.seenSeq, err = c.Journal.Look(ctx, h.own.Line); err != nil {
			return err
		}
	}
	rec := h.draft(c.Now())
	if h.seen != nil {
		// Some may have been accepted: they are not to lie dead.
		rec.Recipients = clone(h.seen).Recipients
		keepDelivered(rec, h.seen)
	}
	rec.Hop = h.own.Hop
	for i := range rec.Recipients {
		if rec.Recipients[i].State != schema.StateDelivered {
			rec.Recipients[i].State, rec.Recipients[i].Reason = schema.StateDead, why
		}
	}
	rec.Whole, rec.Reason, rec.Error, rec.Event = "", why, schema.Sentence(sentence, schema.MaxError), schema.EventFailed
	if len(rec.Recipients) == 0 {
		rec.Whole = schema.StateDead
	}
	conclude(rec)
	if err := c.record(ctx, h, rec); err != nil {
		return err
	}
	return c.finish(ctx, h, rec, false)
}

// jitterOf spreads retries without a source of randomness, so that the same
// message at the same hop is always due at the same time.
func jitterOf(h *hand) float64 {
	x := h.seq*0x9E3779B97F4A7C15 + uint64(h.own.Hop)*0xBF58476D1CE4E5B9 + uint64(h.own.Enqueued.UnixNano())
	x ^= x >> 31
	x *= 0x94D049BB133111EB
	return float64(x>>11)/(1<<52) - 1
}

// pause is how long to leave a message after the relay's fault, growing with
// the times that this happened.
func (c *Consumer) pause(times int) time.Duration {
	return min(c.cfg.PauseMin<<min(max(times-1, 0), 16), c.cfg.PauseMax)
}

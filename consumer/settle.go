package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
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
func (c *Consumer) settle(work, settling context.Context, lane wire.Lane, h *delivery) error {
	if err := h.identify(lane); err != nil {
		return c.buryUnread(settling, lane, h, mail.ReasonBadEnvelope, err.Error())
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
		done, err := c.lookup(settling, h)
		if err != nil {
			return err
		}
		if done != nil {
			return c.finish(settling, h, done, true)
		}
		if h.seen != nil && h.seen.Generation > h.own.Generation {
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
func (c *Consumer) finish(ctx context.Context, h *delivery, rec *wire.Record, again bool) error {
	carry := func() error { return c.forward(ctx, h, rec, again) }
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
func (c *Consumer) decide(work, settling context.Context, h *delivery) (*wire.Record, error) {
	now := c.Now()
	rec := h.draft(now)
	stand := h.standing(now, h.own.Attempts+1, 0)
	switch {
	case h.bad != nil:
		rec.Together, rec.Reason, rec.Error = wire.StateDead, h.bad.Reason, mail.Sentence(h.bad.Error(), mail.MaxError)
	case !rec.Has(wire.StatePending):
		// Everything was accepted while this copy waited.
	case h.early(now) && !c.policy.Expired(stand):
		setPending(rec, wire.StateScheduled, "")
		rec.Due, rec.Event = h.envelope.SendAt, wire.EventScheduled
	case h.delivered == 0:
		setPending(rec, wire.StateDead, mail.ReasonStranded)
		rec.Error = "no consumer would have handed the message out again"
	case c.policy.Expired(stand):
		setPending(rec, wire.StateDead, mail.ReasonExpired)
	default:
		if err := c.attempt(work, settling, h, rec); err != nil {
			return nil, err
		}
	}
	conclude(rec)
	if h.split {
		rec.Together = ""
	}
	return rec, c.record(settling, h, rec)
}

// early reports mail whose time has not come: fresh mail, or a replay of what
// died unread or stranded. A copy that was scheduled for it may come a moment
// before it, by our clock.
func (h *delivery) early(now time.Time) bool {
	if h.own.Generation > 0 {
		now = now.Add(clocksApart)
	}
	return h.envelope.SendAt.After(now)
}

// clocksApart is by how much our clock may be behind the broker's.
const clocksApart = time.Second

func setPending(rec *wire.Record, s wire.State, why mail.Reason) {
	for i := range rec.Recipients {
		if rec.Recipients[i].State == wire.StatePending {
			rec.Recipients[i].State, rec.Recipients[i].Reason = s, why
		}
	}
}

// conclude says in the record whether its recipients go on together, and names
// what happened by the one of them that matters most to a person.
func conclude(rec *wire.Record) {
	if state, why, same := rec.Uniform(); same {
		rec.Together, rec.Reason = state, why
	}
	if rec.Event != "" {
		return
	}
	rec.Event = wire.EventDelivered
	for _, x := range rec.Recipients {
		switch x.State {
		case wire.StateDead:
			rec.Event = wire.EventOf(x.Reason)
			return
		case wire.StateScheduled:
			if rec.Event != wire.EventUncertain {
				rec.Event = rec.Waits(x.Index)
			}
		}
	}
	if rec.Together == wire.StateDead {
		rec.Event = wire.EventOf(rec.Reason)
	}
}

// settleCrashLoop goes on from a record, where a worker came so far before it
// died; else the message is buried as it lies. False where it is no crash loop
// after all: a hand has recorded since that it only had to let go.
func (c *Consumer) settleCrashLoop(ctx context.Context, lane wire.Lane, h *delivery) (settled bool, err error) {
	done, err := c.lookupUnread(ctx, lane, h)
	switch {
	case err != nil:
		return false, err
	case done != nil:
		return true, c.finish(ctx, h, done, true)
	case h.seen != nil && h.seen.Generation > h.own.Generation:
		return true, c.ack(ctx, h)
	}
	n := h.delivered
	if h.seen != nil && h.seen.Generation == h.own.Generation {
		n -= h.seen.Delivery
	}
	if n < crashLoop {
		return false, nil
	}
	return true, c.buryUnread(ctx, lane, h, mail.ReasonCrashLoop,
		fmt.Sprintf("delivered %d times without a record: it may kill workers, so it was not read", n))
}

// buryUnread buries a message whose body nobody reads.
func (c *Consumer) buryUnread(ctx context.Context, lane wire.Lane, h *delivery, why mail.Reason, sentence string) error {
	if h.own.Key.Origin == "" {
		// A copy whose headers cannot be believed; its subject names it. What
		// is on no line of ours gets one of its own.
		l, err := wire.ParseKey(h.subject)
		if err != nil {
			own := wire.Origin(h.stored, h.seq)
			l = wire.Key{Lane: lane, ID: own, Origin: own, Recipient: wire.All}
		}
		h.own = wire.Copy{Key: l, Enqueued: h.stored}
	}
	if h.seen == nil {
		var err error
		if h.seen, h.seenSeq, err = c.Journal.Lookup(ctx, h.own.Key); err != nil {
			return err
		}
	}
	rec := h.draft(c.Now())
	if h.seen != nil {
		// Some may have been accepted: they are not to lie dead.
		rec.Recipients = clone(h.seen).Recipients
		keepDelivered(rec, h.seen)
	}
	rec.Generation = h.own.Generation
	for i := range rec.Recipients {
		if rec.Recipients[i].State != wire.StateDelivered {
			rec.Recipients[i].State, rec.Recipients[i].Reason = wire.StateDead, why
		}
	}
	rec.Together, rec.Reason, rec.Error, rec.Event = "", why, mail.Sentence(sentence, mail.MaxError), wire.EventFailed
	if len(rec.Recipients) == 0 {
		rec.Together = wire.StateDead
	}
	conclude(rec)
	if err := c.record(ctx, h, rec); err != nil {
		return err
	}
	return c.finish(ctx, h, rec, false)
}

// jitterOf spreads retries without a source of randomness, so that the same
// message at the same hop is always due at the same time.
func jitterOf(h *delivery) float64 {
	x := h.seq*0x9E3779B97F4A7C15 + uint64(h.own.Generation)*0xBF58476D1CE4E5B9 + uint64(h.own.Enqueued.UnixNano())
	x ^= x >> 31
	x *= 0x94D049BB133111EB
	return float64(x>>11)/(1<<52) - 1
}

// pause is how long to leave a message after the relay's fault, growing with
// the times that this happened.
func (c *Consumer) pause(times int) time.Duration {
	return min(c.cfg.PauseMin<<min(max(times-1, 0), 16), c.cfg.PauseMax)
}

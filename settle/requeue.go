package settle

import (
	"context"

	"github.com/postrider/postrider/wire"
)

// oftenFrom is the number of deliveries from which on a message is scheduled instead of
// given back to the broker: deliveries are bounded, and one that was given back at many
// rollouts would seem to crash workers (crashLoop).
const oftenFrom = 8

// requeue puts off a message without counting an attempt, because the relay or the
// worker was at fault. It gives the delivery back to the broker. Or, while the lease
// lasts, it has rec schedule a copy: if the message was delivered often, or if the relay
// hung up at the recipients who are set aside. It may do so each time, and a message
// that is given back counts against the consumer's max_ack_pending until it comes again.
// requeue returns nil if rec schedules the message, else an error.
func (s *Settler) requeue(ctx context.Context, d *Delivery, rec *wire.Record, aside []int, why string) error {
	s.metrics.requeued.Inc()
	if (d.DeliveredOften() || len(aside) > 0) && !d.leaseExpired() {
		due := s.Now().Add(s.pause(d.copy.Generation + 1))
		if end := s.cfg.deadline(d.standing(due, 0, 0)); due.After(end) {
			due = end
		}
		rec.SetPending(wire.StateScheduled, "")
		if !rec.Has(wire.StateDead) {
			rec.Event = wire.EventRequeued
		}
		if rec.Due.Before(s.Now()) {
			rec.Due = due
		}
		return nil
	}
	if rec.DecidesMore(d.last) || d.DeliveredOften() {
		// The record restarts the count of a crash loop.
		rec.Event = wire.EventRequeued
		if err := s.record(ctx, d, rec); err != nil {
			return err
		}
	}
	s.Log.Debug("message requeued", "id", d.copy.Key.ID, "lane", d.copy.Key.Lane, "reply", why)
	return s.Requeue(d)
}

// Requeue gives a delivery back to the broker, to come again after a pause that grows
// with its deliveries; nothing happens if the lease has expired. It always returns
// [ErrLeft].
func (s *Settler) Requeue(d *Delivery) error { return d.nak(s.pause(d.Times)) }

// DeliveredOften reports a message that must not be given back any more: settle it,
// and it is scheduled if it cannot be sent.
func (d *Delivery) DeliveredOften() bool { return d.Times >= oftenFrom }

package settle

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/wire"
)

// oftenFrom is the number of deliveries from which on a message is scheduled instead of
// given back to the broker: deliveries are bounded, and one that was given back at many
// rollouts would seem to crash workers (crashLoop).
const oftenFrom = 8

// heldLonger is how many pauses are skipped for mail of a sender that the relay refuses:
// while one is tried, all the others would only be copied.
const heldLonger = 3

// requeue puts off a message without counting an attempt, because the relay or the
// worker was at fault. It gives the delivery back to the broker. Or, while the lease
// lasts, it has rec schedule a copy: if the message was delivered often, or if it is for
// later, because the relay hung up at recipients or refuses the sender. It may do so each
// time, and a message that is given back comes first, and counts against the consumer's
// max_ack_pending until then.
// requeue returns nil if rec schedules the message, else an error.
func (s *Settler) requeue(ctx context.Context, d *Delivery, rec *wire.Record, later bool, why string) error {
	s.metrics.requeued.Inc()
	if (d.DeliveredOften() || later) && !d.leaseExpired() {
		times := d.copy.Generation + 1
		if d.heldBack {
			times += heldLonger
		}
		due := s.Now().Add(s.pause(times))
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
	rec.Event = wire.EventRequeued
	first := wire.BlamesRelay(rec.Attempts) && (d.last == nil || d.last.Generation < rec.Generation)
	switch {
	case rec.DecidesMore(d.last) || d.DeliveredOften():
		// The record restarts the count of a crash loop.
		if err := s.record(ctx, d, rec); err != nil {
			return err
		}
	case first && !d.leaseExpired(): // else another delivery may have settled it long ago
		s.recordFirst(ctx, d, rec)
	}
	level, leftOut := s.told.next(first, wire.BlamesRelay(rec.Attempts))
	s.Log.Log(ctx, level, "message requeued, no attempt counted", "id", d.copy.Key.ID, "lane", d.copy.Key.Lane, "reply", why, "left_out", leftOut)
	return s.Requeue(d)
}

// recordFirst records the first requeue of a generation, for people. It decides nothing: if
// it fails, or another delivery recorded first, the message is requeued all the same.
func (s *Settler) recordFirst(ctx context.Context, d *Delivery, rec *wire.Record) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	_, err := s.Journal.Set(ctx, rec.Key(), rec, d.lastSeq, false)
	d.GoesOn = err == nil
}

// requeueLog chooses what is logged at info: one requeue in ten seconds.
type requeueLog struct {
	mu      sync.Mutex
	again   time.Time
	leftOut int
}

// next is the level of a requeue, and how many first ones were left out before it.
func (l *requeueLog) next(first, blamed bool) (level slog.Level, leftOut int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); !now.Before(l.again) && (first || blamed && l.leftOut > 0) {
		leftOut, l.leftOut, l.again = l.leftOut, 0, now.Add(10*time.Second)
		return slog.LevelInfo, leftOut
	}
	if first {
		l.leftOut++
	}
	return slog.LevelDebug, 0
}

// Requeue gives a delivery back to the broker, to come again after a pause that grows
// with its deliveries; nothing happens if the lease has expired. It always returns
// [ErrLeft].
func (s *Settler) Requeue(d *Delivery) error { return d.nak(s.pause(d.Times)) }

// DeliveredOften reports a message that must not be given back any more: settle it,
// and it is scheduled if it cannot be sent.
func (d *Delivery) DeliveredOften() bool { return d.Times >= oftenFrom }

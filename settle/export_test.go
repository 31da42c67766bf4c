package settle

import (
	"context"
	"log/slog"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// What the tests of the steps need of the inside.

const CrashLoop = crashLoop

var (
	ErrGone = errGone
)

type RequeueLog = requeueLog

func (l *RequeueLog) Next(first bool) (slog.Level, int) { return l.next(first, true) }

// Read identifies a delivery, decodes and composes it.
func (d *Delivery) Read() {
	d.identify()
	if d.bad == nil {
		d.read()
	}
}

func (d *Delivery) Bad() *schema.EnvelopeError               { return d.bad }
func (d *Delivery) From() string                             { return d.from.Address }
func (d *Delivery) Recipients() []mail.Recipient             { return d.copy.Key.RecipientsIn(d.envelope) }
func (d *Delivery) Draft(now time.Time) *wire.Record         { return d.draft(now) }
func (d *Delivery) Envelope() *schema.Envelope               { return d.envelope }
func (d *Delivery) Message(to []mail.Recipient) mail.Message { return d.transaction(to) }
func (d *Delivery) NextBatch(rec *wire.Record, limit int) []mail.Recipient {
	return d.nextBatch(rec, nil, limit)
}

func (s *Settler) Lookup(ctx context.Context, d *Delivery) (*wire.Record, error) {
	return s.lookup(ctx, d)
}
func (s *Settler) Attempt(ctx context.Context, d *Delivery, rec *wire.Record) error {
	return s.attempt(Span{Fetch: ctx, Work: ctx, Settle: ctx}, d, rec)
}
func (s *Settler) Record(ctx context.Context, d *Delivery, rec *wire.Record) error {
	return s.record(ctx, d, rec)
}
func (s *Settler) Finish(ctx context.Context, d *Delivery, rec *wire.Record, redo bool) error {
	return s.finish(ctx, d, rec, redo)
}
func (s *Settler) Ack(ctx context.Context, d *Delivery) error { return s.ack(ctx, d) }
func (s *Settler) CountSettled(rec *wire.Record)              { s.metrics.settled(rec) }

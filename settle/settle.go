package settle

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// Relay sends mail. It chooses the server for each message itself.
type Relay interface {
	// Deliver makes one transaction and returns an outcome for each recipient.
	Deliver(ctx context.Context, m mail.Message) mail.Transaction
}

// Journal keeps the records. A key without an ID stands for any id, if another worker
// may know the message by another one. Errors are those of package stream.
type Journal interface {
	// Lookup returns the last record of the key and its sequence; nil and 0 if
	// there is none.
	Lookup(ctx context.Context, k wire.Key) (*wire.Record, uint64, error)
	// Set makes r the last record of its key if the last sequence of k is the expected
	// one, 0 for none. A brief record is kept for minutes only.
	Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error)
	// Find searches the log for the last record of the key at that generation or
	// above; nil if there is none.
	Find(ctx context.Context, k wire.Key, generation int, enqueued time.Time) (*wire.Record, error)
}

// DeadLetters keeps what failed for good.
type DeadLetters interface {
	// Bury stores l, unless the key has a dead letter or a tombstone of that
	// generation or a later one.
	Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error)
	// Mark makes the dead letter of c's generation a tombstone, or stores one if there
	// is no dead letter yet.
	Mark(ctx context.Context, c wire.Copy, event wire.Event) error
}

// Store reads and writes the lanes' streams. Errors are those of package stream.
type Store interface {
	// Put publishes the one copy of a key, if the last sequence on filter is the
	// expected one, 0 for none. If a message of that generation or a later one is
	// there, already is true and nothing is written.
	Put(ctx context.Context, m *nats.Msg, filter string, expected uint64, generation int) (seq uint64, already bool, err error)
	// Next is the first message from seq on whose subject matches. since counts only
	// if seq is 0.
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
	// Delete deletes a message. It is no error if there is none.
	Delete(ctx context.Context, stream string, seq uint64) error
}

// Parts are what a Settler works with.
type Parts struct {
	Relay       Relay
	Journal     Journal
	DeadLetters DeadLetters
	Store       Store
	// Now is an estimate of the broker's clock.
	Now func() time.Time
	// Full reports that a write found no room, so that fetching stops for a while. It
	// returns false if that was reported already.
	Full func() bool
	// Settled is called with each record that ends a generation, once it was written
	// and its message acked here (if there was no room for it, without being written), by the goroutine that settled it. It may be nil.
	Settled func(*wire.Record, *Delivery)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Settler settles deliveries. It keeps nothing of them, and any number of goroutines may
// call it at once.
type Settler struct {
	Parts
	cfg     Config
	metrics *metrics
	writes  *writer
	told    requeueLog
}

// New makes a Settler for those lanes.
func New(cfg Config, lanes []wire.Lane, p Parts) *Settler {
	s := &Settler{Parts: p, cfg: cfg, metrics: newMetrics(p.Metrics, lanes)}
	s.writes = &writer{&s.Parts}
	return s
}

// Span is for how long a delivery may be worked on. Its contexts end in this order:
// from then on no more is fetched, no transaction goes on, nothing more is written.
type Span struct{ Fetch, Work, Settle context.Context }

// ErrLeft: the delivery is not acknowledged and must do no more. The broker delivers the
// message again, or another delivery settles it. What kept this one from it may be
// joined to it.
var ErrLeft = errors.New("left to another delivery")

var (
	// errGone: the message is not in its stream any more, and the lease has expired.
	errGone = errors.New("no longer in its stream")
	// errAgain: another delivery recorded first; begin again with its record.
	errAgain = errors.New("another delivery recorded first")
)

// Settle takes a delivery through the five steps. It returns nil if the message is
// acknowledged, [ErrLeft] if another delivery will settle it, else what failed.
func (s *Settler) Settle(span Span, d *Delivery) error {
	d.stopping = span.Fetch.Done()
	d.identify()
	if d.bad == nil && d.Times < crashLoop {
		d.read()
	}
	for {
		if err := s.settleOnce(span, d); errors.Is(err, errGone) {
			return ErrLeft
		} else if !errors.Is(err, errAgain) {
			return err
		}
	}
}

// settleOnce settles what lookup finds: a record to forward, or a message to decide on.
func (s *Settler) settleOnce(span Span, d *Delivery) error {
	done, err := s.lookup(span.Settle, d)
	switch {
	case err != nil:
		return err
	case done != nil:
		return s.finish(span.Settle, d, done, true)
	case d.last != nil && d.last.Generation > d.copy.Generation:
		return s.ack(span.Settle, d) // the later record proves that this one was forwarded
	}
	if d.bad == nil && !d.decoded {
		if d.bad = d.inCrashLoop(); d.bad == nil {
			d.read()
		}
	}
	rec, err := s.decide(span, d)
	if err != nil {
		return err
	}
	return s.finish(span.Settle, d, rec, false)
}

// finish forwards a record and acks. found is set if the record was found, not just
// written: some of it may have been forwarded before.
func (s *Settler) finish(ctx context.Context, d *Delivery, rec *wire.Record, found bool) error {
	if err := s.forward(ctx, d, rec, found); err != nil {
		return err
	}
	if err := s.ack(ctx, d); err != nil {
		return err
	}
	if !found {
		s.metrics.settled(rec)
		if s.Settled != nil {
			s.Settled(rec, d)
		}
	}
	return nil
}

// decide brings the message to a record with nobody pending, by an attempt if one
// is due. It returns ErrLeft if the message was requeued.
func (s *Settler) decide(span Span, d *Delivery) (*wire.Record, error) {
	now := s.Now()
	rec := d.draft(now)
	stand := d.standing(now, d.copy.Attempts+1, 0)
	switch {
	case d.bad != nil:
		d.recordBad(rec)
	case !rec.Has(wire.StatePending):
		// Everything was accepted while this copy waited.
	case d.early(now) && !s.cfg.tooOld(stand):
		rec.SetPending(wire.StateScheduled, "")
		rec.Due, rec.Event = d.envelope.SendAt, wire.EventScheduled
	case d.Times == 0:
		rec.SetPending(wire.StateDead, mail.ReasonStranded)
		rec.Error = "no consumer would have delivered the message again"
	case s.cfg.tooOld(stand):
		rec.SetPending(wire.StateDead, mail.ReasonExpired)
		rec.Error = expired(rec, s.cfg.deadline(stand))
	default:
		if err := s.attempt(span, d, rec); err != nil {
			return nil, err
		}
	}
	rec.Conclude()
	return rec, s.record(span.Settle, d, rec)
}

// expired says why the mail was not sent in time.
func expired(rec *wire.Record, until time.Time) string {
	why := "it was to be sent until " + until.UTC().Format(time.RFC3339)
	if n := len(rec.Attempts); n > 0 && len(rec.Attempts[n-1].Outcomes) > 0 {
		why += "; at last: " + rec.Attempts[n-1].Outcomes[0].Words()
	}
	return why
}

// early reports mail whose send_at is still to come: fresh mail, or a replay of
// mail that died unread. A scheduled copy may come a moment early by our clock.
func (d *Delivery) early(now time.Time) bool {
	if d.copy.Generation > 0 {
		now = now.Add(clocksApart)
	}
	return d.envelope.SendAt.After(now)
}

// clocksApart is by how much our clock may be behind the broker's.
const clocksApart = time.Second

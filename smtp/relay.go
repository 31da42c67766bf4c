package smtp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/mail"
)

// Relay is one relay and the sessions at it. Its methods may be called
// concurrently. It has to be closed.
type Relay struct {
	cfg     Config
	dialer  *dialer
	pool    *pool
	circuit *circuit
	metrics *metrics
	// unregister takes the metrics out of the registry.
	unregister func()

	// life ends when Close has waited long enough.
	life context.Context
	end  context.CancelCauseFunc
	// tidy is told to stop the janitor and the probe, earlier than life.
	tidy     context.Context
	stopTidy context.CancelFunc
	tasks    sync.WaitGroup
}

// New makes a relay out of a valid configuration; it opens no session yet. The
// error names the variable that is wrong. A nil registerer means no metrics.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Relay, error) {
	if err := errors.Join(cfg.Validate()...); err != nil {
		return nil, err
	}
	dialer, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	r := &Relay{cfg: cfg, dialer: dialer, pool: newPool(cfg.MaxSessions)}
	if tooShort(string(cfg.Password)) {
		log.Warn(fmt.Sprintf("SMTP_PASSWORD has fewer than %d characters that count: where the relay repeats it, logs, records and dead letters will hold it; use a longer one", echoLeast))
	}
	r.circuit = newCircuit(r.Name(), log, cfg)
	if r.metrics, r.unregister, err = newMetrics(r, reg); err != nil {
		return nil, err
	}
	r.dialer.metrics = r.metrics
	r.life, r.end = context.WithCancelCause(context.Background())
	r.tidy, r.stopTidy = context.WithCancel(r.life)
	r.tasks.Go(r.janitor)
	return r, nil
}

// Name is the relay's host:port.
func (r *Relay) Name() string { return r.dialer.target.addr() }

// Up reports whether the relay is believed to work. While it is not, Deliver
// tries nothing.
func (r *Relay) Up() bool {
	why, _, _ := r.circuit.state()
	return why == nil
}

// Wait blocks until the relay is believed to work. The error is the cause of
// ctx, or says that the relay was closed.
func (r *Relay) Wait(ctx context.Context) error {
	_, up, _ := r.circuit.state()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.pool.closing:
		return errClosed
	}
}

// Deliver hands m to the relay in one transaction and returns what became of
// each recipient, in the order of m.Recipients. It waits for a free session
// until ctx ends. When ctx ends later the session is cut off: before the final
// dot the outcome is then [schema.Delayed], after it [schema.Uncertain].
//
// Outcomes of stage local come from here and not from the relay: an address
// that cannot be sent, a message the relay cannot take, a dot that was not
// permitted, a context that ended.
func (r *Relay) Deliver(ctx context.Context, m mail.Message) mail.Transaction {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.life, func() { cancel(errClosed) })()

	d := newDelivery(ctx, &m, r.Name())
	for len(d.to) > 0 && r.attempt(d) {
		// A relay that wants fewer sessions is waited for with the others.
	}
	r.metrics.transaction(d.tx.Outcomes)
	return d.tx
}

// attempt carries the delivery through one place of the pool. It reports true
// where another place is wanted.
func (r *Relay) attempt(d *delivery) bool {
	why, _, down := r.circuit.state()
	if why != nil {
		d.postpone(why.stage, fmt.Errorf("waiting for the relay, which %w", why))
		return false
	}
	s, err := r.pool.take(d.ctx, down)
	if errors.Is(err, errDown) {
		return true // and the circuit says why
	}
	if err != nil {
		d.postpone(mail.StageLocal, fmt.Errorf("no session was free: %w", err))
		return false
	}
	if s != nil && !r.spent(s) && !d.run(s) {
		r.settle(d, s)
		return false
	}
	if s != nil {
		r.leave(s)
	}
	begun := time.Now()
	s, f := r.open(d.ctx)
	if f != nil {
		again := r.refused(d, f, begun)
		r.pool.drop()
		return again
	}
	d.run(s)
	r.settle(d, s)
	return false
}

// refused is for a session that could not be opened. Where the relay only wants
// fewer of them, and others are there, the delivery waits for one of those.
func (r *Relay) refused(d *delivery, f *fault, begun time.Time) bool {
	if d.ctx.Err() != nil {
		d.postpone(mail.StageLocal, fmt.Errorf("open a session: %w", context.Cause(d.ctx)))
		return false
	}
	if f.trouble == crowded && r.pool.lower(0) {
		return true
	}
	r.isolate(f, begun)
	d.settle(replyFaultOutcome(f))
	return false
}

// settle draws the consequences for the relay, and gives the session back.
func (r *Relay) settle(d *delivery, s *session) {
	if d.worked {
		r.circuit.worked()
	}
	if d.fault != nil && (d.fault.trouble != crowded || !r.pool.lower(1)) {
		r.isolate(d.fault, d.tx.At)
	}
	r.give(s)
}

// replyFaultOutcome is what a message hears that met f.
func replyFaultOutcome(f *fault) mail.Outcome {
	o := localOutcome(mail.Requeued, f.reply.enhanced, f)
	o.Stage, o.Code = f.stage, f.reply.code
	return o
}

// open opens a session in a place that the caller has.
func (r *Relay) open(ctx context.Context) (*session, *fault) {
	s, f := r.dialer.open(ctx)
	if f == nil {
		r.pool.opened()
	}
	return s, f
}

// give puts a session back for others, or lets it take leave on its own time;
// its place stays in use until it is gone, so that the relay never sees more
// sessions than it should.
func (r *Relay) give(s *session) {
	if !s.botched && !r.spent(s) && r.pool.keep(s) {
		return
	}
	r.dismiss(s)
}

// dismiss ends sessions whose places are in hand, and drops the places.
func (r *Relay) dismiss(sessions ...*session) {
	for _, s := range sessions {
		if s.botched {
			r.leave(s)
			r.pool.drop()
			continue
		}
		r.tasks.Go(func() {
			r.leave(s)
			r.pool.drop()
		})
	}
}

// leave ends a session and keeps its place.
func (r *Relay) leave(s *session) {
	s.quit(r.life)
	r.pool.ended()
}

// spent reports a session that has done its part.
func (r *Relay) spent(s *session) bool {
	return s.used >= r.cfg.MessagesPerSession || time.Since(s.opened) >= r.cfg.SessionAge
}

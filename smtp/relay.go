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

// Relay is one relay: its configuration, its sessions, its circuit and its
// metrics. Its methods may be called concurrently. It must be closed.
type Relay struct {
	cfg     Config
	dialer  *dialer
	pool    *pool
	circuit *circuit
	metrics *metrics
	// unregister removes the metrics from the registry.
	unregister func()

	// life ends when Close has waited long enough: it cuts sessions off.
	life context.Context
	end  context.CancelCauseFunc
	// tidy ends when Close begins: it stops the janitor and the probe.
	tidy     context.Context
	stopTidy context.CancelFunc
	tasks    sync.WaitGroup
}

// New makes a relay from a valid configuration; it opens no session yet. The
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
		log.Warn(fmt.Sprintf("SMTP_PASSWORD has fewer than %d characters that count: if the relay repeats it, it will be in logs, records and dead letters; use a longer one", echoLeast))
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

// Wait blocks until the relay is believed to work. The error is the cause of ctx,
// or says that the Relay was closed.
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

// Deliver sends m to the relay in one transaction and returns the outcome of each
// recipient, in the order of m.Recipients. It waits for a free session until ctx
// ends. If ctx ends later, the session is cut off: the outcome is then
// [mail.Requeued] before the final dot and [mail.Uncertain] after it.
//
// Outcomes of the stage local come from here and not from the relay: an address
// that cannot be sent, a message that the relay cannot accept, a body that cannot
// be read, a dot that was not permitted, a context that ended.
func (r *Relay) Deliver(ctx context.Context, m mail.Message) mail.Transaction {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.life, func() { cancel(errClosed) })()

	d := newDelivery(ctx, &m, r.Name())
	d.failEightBit = r.cfg.EightBit == "fail"
	for len(d.to) > 0 && r.attempt(d) {
		// The relay wants fewer sessions: wait for one of the others.
	}
	r.metrics.transaction(d.tx.Outcomes)
	d.tx.Down = !r.Up()
	return d.tx
}

// attempt makes the delivery in one slot of the pool. It reports true if another
// slot is wanted.
func (r *Relay) attempt(d *delivery) bool {
	why, _, down := r.circuit.state()
	if why != nil {
		d.postpone(why.Stage, fmt.Errorf("waiting for the relay, which %s", why.Detail()))
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
	s, bad := r.open(d.ctx)
	if bad != nil {
		again := r.refused(d, bad, begun)
		r.pool.drop()
		return again
	}
	d.run(s)
	r.settle(d, s)
	return false
}

// refused handles a session that could not be opened. If the relay only wants
// fewer of them, and there are others, the delivery waits for one of those.
func (r *Relay) refused(d *delivery, e *Error, begun time.Time) bool {
	if d.ctx.Err() != nil {
		d.postpone(mail.StageLocal, fmt.Errorf("open a session: %w", context.Cause(d.ctx)))
		return false
	}
	if e.trouble == crowded && r.pool.lower(0) {
		return true
	}
	r.isolate(e, begun)
	d.settle(e.outcome())
	return false
}

// settle applies what the delivery learned of the relay, and gives the session back.
func (r *Relay) settle(d *delivery, s *session) {
	if d.worked {
		r.circuit.worked()
	}
	if d.fault != nil && (d.fault.trouble != crowded || !r.pool.lower(1)) {
		r.isolate(d.fault, d.tx.At)
	}
	r.give(s)
}

// open opens a session in a slot that the caller has.
func (r *Relay) open(ctx context.Context) (*session, *Error) {
	s, bad := r.dialer.open(ctx)
	if bad == nil {
		r.pool.opened()
	}
	return s, bad
}

// give puts a session back for others, or lets it quit in the background. Its
// slot stays in use until it is closed, so that the relay never sees more
// sessions than it should.
func (r *Relay) give(s *session) {
	if !s.botched && !r.spent(s) && r.pool.keep(s) {
		return
	}
	r.dismiss(s)
}

// dismiss ends sessions whose slots the caller has, and drops the slots.
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

// leave ends a session and keeps its slot.
func (r *Relay) leave(s *session) {
	s.quit(r.life)
	r.pool.ended()
}

// spent reports a session that has reached its age or its number of messages.
func (r *Relay) spent(s *session) bool {
	return s.used >= r.cfg.MessagesPerSession || time.Since(s.opened) >= r.cfg.SessionAge
}

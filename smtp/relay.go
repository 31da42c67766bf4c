package smtp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
	pace    pace
	// credential is what the relay said of the password.
	credential *credential
	blame      blame
	// said is the limit of sessions that was logged last.
	said atomic.Int64
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
	dialer, err := newDialer(cfg, log)
	if err != nil {
		return nil, err
	}
	r := &Relay{cfg: cfg, dialer: dialer, pool: newPool(cfg.MaxSessions), credential: newCredential(cfg, log)}
	if tooShort(string(cfg.Password)) {
		log.Warn(fmt.Sprintf("SMTP_PASSWORD has fewer than %d characters that count: if the relay repeats it, it will be in logs, records and dead letters; use a longer one", echoLeast))
	}
	r.circuit = newCircuit(r.Name(), log, cfg)
	if r.metrics, r.unregister, err = newMetrics(r, reg); err != nil {
		return nil, err
	}
	r.dialer.metrics, r.dialer.heard, r.dialer.quirks, r.dialer.credential = r.metrics, r.pool.hear, &quirks{name: r.Name(), log: log}, r.credential
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
	_, up := r.circuit.state()
	select {
	case <-up:
		return true
	default:
		return false
	}
}

// Wait blocks until the relay is believed to work. The error is the cause of ctx,
// or says that the Relay was closed.
func (r *Relay) Wait(ctx context.Context) error {
	_, up := r.circuit.state()
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
	d.circuit = r.circuit
	d.blamed = r.blame.often(d.key())
	d.rules = r.cfg.Rules
	d.failEightBit = r.cfg.EightBit == "fail"
	for len(d.to) > 0 && r.attempt(d) {
		// The relay wants fewer sessions: wait for one of the others.
	}
	if d.turn > 0 {
		r.circuit.ended(d.turn, d.reached, d.passed)
	}
	if d.probe {
		r.circuit.probed(d.m)
	}
	r.metrics.transaction(d.tx.Outcomes)
	d.tx.Down = d.fault != nil || !r.Up()
	return d.tx
}

// attempt makes the delivery in one slot of the pool. It reports true if another
// slot is wanted.
func (r *Relay) attempt(d *delivery) bool {
	down, ok := r.admit(d)
	if !ok {
		return false
	}
	var s *session
	err := r.pace.wait(d.ctx, down)
	if err == nil {
		s, err = r.pool.take(d.ctx, down)
	}
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
	for {
		begun := time.Now()
		s, bad, err := r.fresh(d.ctx, down)
		if s == nil {
			again := errors.Is(err, errDown) || r.refused(d, bad, begun)
			r.pool.drop()
			return again
		}
		if !d.run(s) {
			r.settle(d, s)
			return false
		}
		r.leave(s)
	}
}

// Retry has a relay that is down tried at once, with a password that it refused too: an
// operator has mended something.
func (r *Relay) Retry() {
	r.credential.retry()
	r.circuit.retry()
}

// admit waits until the message may be sent; while the circuit is on trial, for its
// turn. It reports false if the message is postponed.
func (r *Relay) admit(d *delivery) (down <-chan struct{}, ok bool) {
	for {
		p := r.circuit.admit(d.m, d.turn)
		if d.probe && !p.probe {
			r.circuit.probed(d.m)
		}
		d.turn, d.probe, d.begun = p.turn, p.probe, time.Now()
		if p.putOff != nil {
			d.tx.Later = true
			d.postpone(mail.StageLocal, p.putOff)
			return nil, false
		}
		if p.why != nil {
			d.postpone(p.why.Stage, fmt.Errorf("waiting for the relay, which %s", p.why.Detail()))
			return nil, false
		}
		if p.wait == nil {
			return p.down, true
		}
		var after <-chan time.Time
		if p.after > 0 {
			after = time.After(p.after)
		}
		select {
		case <-p.wait:
			continue
		case <-after:
			continue
		case <-d.ctx.Done():
			d.postpone(mail.StageLocal, fmt.Errorf("another message is being tried: %w", context.Cause(d.ctx)))
		case <-r.pool.closing:
			d.postpone(mail.StageLocal, fmt.Errorf("another message is being tried: %w", errClosed))
		}
		return nil, false
	}
}

// refused handles a session that could not be opened. It reports true if the delivery
// waits for another one.
func (r *Relay) refused(d *delivery, e *Error, begun time.Time) bool {
	if d.ctx.Err() != nil {
		d.postpone(mail.StageLocal, fmt.Errorf("open a session: %w", context.Cause(d.ctx)))
		return false
	}
	if r.unopened(e, begun) {
		return true
	}
	d.settle(e.outcome())
	return false
}

// unopened applies what a session that could not be opened says of the relay. While
// others work the relay wants fewer of them, whatever it says or does: many a relay or
// firewall enforces its limit by hanging up. It reports true then. If the others only
// seem to work, they fail soon.
func (r *Relay) unopened(e *Error, begun time.Time) (crowded bool) {
	if e.trouble != alarming && r.pool.lower(0, e.deadSince(begun), r.raised) {
		return true
	}
	r.isolate(e, begun)
	return false
}

// raised is called when the pool has used fewer sessions for a while.
func (r *Relay) raised(limit int) {
	if r.said.Swap(int64(limit)) != int64(limit) {
		r.circuit.log.Info(fmt.Sprintf("relay %s refused more than %d sessions at a time: more are tried once a minute; if that is its limit, lower SMTP_MAX_SESSIONS", r.Name(), limit), "relay", r.Name())
	}
}

// settle applies what the delivery learned of the relay, and gives the session back.
func (r *Relay) settle(d *delivery, s *session) {
	if d.worked && d.fault == nil {
		r.circuit.worked()
	}
	if d.accepted {
		r.pace.accepted()
		r.blame.clear(d.key())
	}
	if d.refusedOnTrial {
		r.pace.unlimited() // it was no limit of a second
	}
	if d.fault != nil {
		switch d.fault.trouble {
		case throttled, exhausted:
			r.pace.less()
			r.blame.note(d.key())
		case refusing:
			if d.turn == 0 {
				r.pace.less() // its limit may be one of a second
			}
		case heldByRule:
			r.pace.less()
			r.blame.note(d.key())
		case crowded:
			r.blame.note(d.key())
		}
	}
	if d.fault != nil && (d.fault.trouble != crowded || !r.pool.lower(1, time.Time{}, r.raised)) {
		if d.fault.Alarm() {
			r.circuit.tryLater(d.m)
		}
		r.isolate(d.fault, d.begun)
	}
	r.give(s)
}

// fresh opens a session for a message, which waits while another one tries the
// password. The error is set if that wait ended; the *Error says how the relay failed.
func (r *Relay) fresh(ctx context.Context, down <-chan struct{}) (*session, *Error, error) {
	password, heard, err := r.credential.claim(ctx, down)
	if err != nil {
		denied, _ := errors.AsType[*Error](err)
		return nil, denied, err
	}
	s, bad := r.open(ctx, password, heard)
	return s, bad, nil
}

// open opens a session with that password in a slot that the caller has.
func (r *Relay) open(ctx context.Context, password mail.Secret, heard func(*Error)) (*session, *Error) {
	r.pool.begin()
	s, bad := r.dialer.open(ctx, password)
	r.pool.begun(bad == nil)
	heard(bad)
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

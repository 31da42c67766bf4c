package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/internal/version"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// announceEvery is how often the state is written if nothing changes, and
	// announceAgain how soon if the broker did not take it.
	announceEvery = 10 * time.Second
	announceAgain = time.Second
	// announcePause is between two writes, so that a state that changes all the time is
	// one write.
	announcePause = 250 * time.Millisecond
	// keptFor is how long a worker that was killed is shown at least.
	keptFor = time.Minute
	// dropFor bounds the removal at the end.
	dropFor = 2 * time.Second
	// findFor bounds the count at the start.
	findFor = 2 * time.Second
)

// announcer keeps at the broker what the worker says of itself, for postrider status. If
// the broker does not take it, nothing else depends on that. Only run's goroutine uses it.
type announcer struct {
	wire.Worker

	relay    func() (smtp.State, <-chan struct{})
	rules    func() (fault string, changed <-chan struct{})
	stopping <-chan struct{}
	store    *stream.Store
	now      func() time.Time // the broker's clock
	ttl      time.Duration
	log      *slog.Logger
}

// announce keeps the state of the worker at the broker until the worker has stopped.
// ctx ends when it is told to stop.
func (w *Worker) announce(ctx context.Context) {
	host, _ := os.Hostname()
	ackWait := w.set.Consumer.AckWait
	a := &announcer{
		Worker: wire.Worker{
			V: wire.WorkerVersion, ID: rand.Text(), Host: host, Version: version.String(),
			Started: w.conn.Now().UTC(), Lanes: w.set.Consumer.Lanes.Names(),
			PID: os.Getpid(), Machine: machine(), AckWaitMS: ackWait.Milliseconds(), Found: w.found,
		},
		relay: w.relay.State, rules: w.rules.Fault, stopping: ctx.Done(), store: w.conn.Store(), now: w.conn.Now,
		ttl: max(keptFor, 2*ackWait), log: w.log,
	}
	w.watch(context.WithoutCancel(ctx), "state of the worker at the broker", a.run)
}

// run writes each change at once, until ctx ends.
func (a *announcer) run(ctx context.Context) {
	a.findPredecessors(ctx)
	stopping := a.stopping
	for ctx.Err() == nil {
		state, changed := a.relay()
		fault, other := a.rules()
		a.RulesFault = fault
		wait := announceEvery
		if err := a.write(ctx, state); err != nil {
			a.log.Debug("the broker does not take the state of the worker, which postrider status lacks", "error", err)
			wait = announceAgain
		}
		stream.Pause(ctx, announcePause)
		select {
		case <-changed:
		case <-other:
		case <-time.After(wait):
		case <-stopping:
			stopping = nil // said once
		case <-ctx.Done():
		}
	}
	a.drop(ctx)
}

// findLeft counts what is in flight although no worker runs, and says when it comes again.
// Nothing else depends on it.
func (w *Worker) findLeft(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, findFor)
	defer cancel()
	killed := w.embedded != nil && forget(ctx, w.conn.Store(), w.log) > 0
	n, err := queueAt(w.conn).Left(ctx, w.set.Consumer.Lanes.Names(), killed)
	w.found = n
	switch ackWait := check.Duration(w.set.Consumer.AckWait); {
	case err != nil:
		w.log.Debug("what is in flight was not counted", "error", err)
	case n == 1:
		w.log.Info("1 message is in flight, taken by a worker that ended: it comes again within " + ackWait + " (ack wait)")
	case n > 1:
		w.log.Info(fmt.Sprintf("%s messages are in flight, taken by a worker that ended: they come again within %s (ack wait)", queue.Thousands(n), ackWait))
	}
	return nil
}

// forget removes what workers said before the embedded broker was started, and returns how
// many had not taken it back: they were killed, or still run and say it again.
func forget(ctx context.Context, store *stream.Store, log *slog.Logger) int {
	left, err := store.Kept(ctx, wire.StreamState, wire.WorkerSubjects)
	for _, m := range left {
		err = errors.Join(err, store.Drop(ctx, m.Subject))
	}
	if err != nil {
		log.Debug("what workers said before the broker was started was not removed", "error", err)
	}
	return len(left)
}

func (a *announcer) write(ctx context.Context, s smtp.State) error {
	a.At = a.now().UTC()
	a.Relay = relayAt(a.At, s)
	select {
	case <-a.stopping:
		a.State = wire.WorkerStopping
	default:
		a.State = wire.WorkerRunning
		if a.Relay.State == wire.RelayDown {
			a.State = wire.WorkerWaiting
		}
	}
	b, err := a.Encode()
	if err != nil {
		return err
	}
	return a.store.Keep(ctx, a.Subject(), b, a.ttl)
}

// drop removes the state of a worker that has stopped.
func (a *announcer) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropFor)
	defer cancel()
	if err := a.store.Drop(ctx, a.Subject()); err != nil {
		a.log.Debug("the state of the worker was not removed, and postrider status shows it as lost for a while", "error", err)
	}
}

// relayAt is the state of the relay, with times by the broker's clock. now is its time.
func relayAt(now time.Time, s smtp.State) wire.Relay {
	at := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return now.Add(time.Until(t)).UTC().Round(time.Millisecond)
	}
	r := wire.Relay{Name: s.Relay, State: wire.RelayUp, Since: at(s.Since), Held: s.Held}
	if s.Fault == nil {
		return r
	}
	r.State, r.Next = wire.RelayDown, at(s.Next)
	if s.Trial {
		r.State = wire.RelayTrial
	}
	r.Words, r.Hint, r.Alarm = mail.Sentence(s.Fault.Detail(), mail.MaxReply), s.Fault.Hint, s.Fault.Alarm()
	return r
}

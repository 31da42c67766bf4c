// Package app is a worker as a value: what it is made of, how it starts and
// stops, and what it reports. Programs and tests run it with [New] and
// [Worker.Run].
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/devrelay"
	"github.com/postrider/postrider/relays"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/smtp"
)

// Worker takes mail from its lanes and hands it to a relay. It runs once.
type Worker struct {
	set      *Settings
	log      *slog.Logger
	report   *reporter
	decorate func(settle.Parts) settle.Parts
	stops    *stops
	// asked is for one call of Reread. Any goroutine sends, the watch over files receives.
	asked chan struct{}

	// The parts, in the order of their start. Run owns them.
	reg      *prometheus.Registry
	admin    *admin
	embedded *embedded.Server // nil with NATS_URL
	conn     *broker.Conn
	found    uint64          // messages that were in flight when it started, and no other worker ran
	dev      *devrelay.Relay // nil with SMTP_URL
	relay    *smtp.Relay
	rules    *relays.Kept // nil without a file of rules
	closers  []closer
}

// Option changes what a worker is made of.
type Option func(*Worker)

// Decorate replaces the parts that settle deliveries, for programs that put
// something between a worker and its streams or its relay.
func Decorate(f func(settle.Parts) settle.Parts) Option {
	return func(w *Worker) { w.decorate = f }
}

// New makes a worker with those settings. It reports what becomes of mail on
// stdout, and its own state on stderr or, as JSON, on stdout.
func New(set *Settings, stdout, stderr io.Writer, options ...Option) *Worker {
	text := set.text(stdout)
	w := &Worker{
		set: set, log: set.Process.Logger(text, stdout, stderr), reg: prometheus.NewRegistry(), stops: newStops(), asked: make(chan struct{}, 1),
		decorate: func(p settle.Parts) settle.Parts { return p },
	}
	w.report = &reporter{w: w, out: stdout, text: text, color: cli.IsTerminal(stdout) && set.color}
	w.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, o := range options {
		o(w)
	}
	return w
}

// Run starts all parts, takes mail until ctx ends or [Worker.Stop] is called,
// waits for the messages in flight, and stops the parts in reverse order. An
// error that somebody has to repair is a [ConfigError]. Any other may not occur
// in a new worker, as [embedded.ErrBroken].
func (w *Worker) Run(ctx context.Context) (err error) {
	defer context.AfterFunc(ctx, w.Stop)()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.stops.first, cancel)()
	defer func() {
		err = errors.Join(w.lost(), err, w.close())
		err = errors.Join(w.stops.failure(), err)
	}()
	for _, start := range []func(context.Context) error{w.startAdmin, w.startBroker, w.provision, w.findLeft, w.startRelay} {
		if err := start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // told to stop before it had started
			}
			return err
		}
	}
	w.announce(ctx)
	c := w.takeMail(ctx)
	w.watchQueue(ctx)
	w.watchFiles(ctx)
	w.becomeReady(ctx)
	end := w.onStop(ctx, w.report.stop, c.Hurry)
	w.report.started()
	err = c.Run(ctx)
	end()
	if err == nil && w.stops.failure() == nil {
		w.report.stopped()
	}
	return err
}

// Stop tells the worker to take no more mail and to wait for the messages in
// flight, as the end of Run's context does. Called again, or after that end, it
// requeues them at once. It does not wait for the end of Run.
func (w *Worker) Stop() { w.stops.next() }

// stops counts how often a worker was told to stop, or has why it stops by itself.
// Any goroutine may call its methods.
type stops struct {
	// first and second end at the first and the second stop. newStops sets them and
	// their cancel functions; nothing changes them later.
	first, second             context.Context
	cancelFirst, cancelSecond context.CancelFunc
	// mu guards failed, and makes one step of next's question and its answer: of two
	// stops at the same time one is the second.
	mu     sync.Mutex
	failed error
}

func newStops() *stops {
	s := &stops{}
	s.first, s.cancelFirst = context.WithCancel(context.Background())
	s.second, s.cancelSecond = context.WithCancel(context.Background())
	return s
}

// fail stops at once: a part the worker cannot do without is broken.
func (s *stops) fail(err error) {
	s.mu.Lock()
	s.failed = err
	s.mu.Unlock()
	s.cancelFirst()
	s.cancelSecond()
}

// failure is why the worker stopped by itself, if it did.
func (s *stops) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *stops) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.Err() == nil {
		s.cancelFirst()
		return
	}
	s.cancelSecond()
}

// onStop calls say when ctx ends, and hurry at the second stop. Call what it
// returns at the end; it returns when say has returned.
func (w *Worker) onStop(ctx context.Context, say, hurry func()) (end func()) {
	over, said := make(chan struct{}), make(chan struct{})
	unused := context.AfterFunc(ctx, func() {
		defer close(said)
		w.admin.ready(nil)
		say()
		select {
		case <-w.stops.second.Done():
			hurry()
		case <-over:
		}
	})
	return func() {
		close(over)
		if !unused() {
			<-said
		}
	}
}

// closer stops one part.
type closer struct {
	name  string
	close func(ctx context.Context) error
}

// closeFor bounds the stop of each part.
const closeFor = 10 * time.Second

func (w *Worker) onClose(name string, f func(ctx context.Context) error) {
	w.closers = append(w.closers, closer{name, f})
}

func (w *Worker) close() error {
	var errs []error
	for _, c := range slices.Backward(w.closers) {
		ctx, cancel := context.WithTimeout(context.Background(), closeFor)
		if err := c.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

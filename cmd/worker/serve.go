package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/devrelay"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/stream"
)

// worker is what serve has started.
type worker struct {
	set      *settings
	log      *slog.Logger
	reg      *prometheus.Registry
	admin    *admin
	embedded *embedded.Server // nil with NATS_URL
	conn     *broker.Conn
	dev      *devrelay.Relay // nil with SMTP_URL
	relay    *smtp.Relay
	closers  []closer
}

// closer stops one part.
type closer struct {
	name  string
	close func(ctx context.Context) error
}

// closeFor bounds the stop of each part.
const closeFor = 10 * time.Second

// serve starts every part, takes mail until ctx ends, and stops the parts in
// reverse.
func serve(ctx context.Context, s *settings, stdout, stderr io.Writer) (err error) {
	text := s.text(stdout)
	w := &worker{set: s, reg: prometheus.NewRegistry(), log: newLogger(s, text, stdout, stderr)}
	w.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() { err = errors.Join(err, w.close()) }()
	for _, start := range []func(context.Context) error{w.startAdmin, w.startBroker, w.provision, w.startRelay} {
		if err := start(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // told to stop before it had begun
			}
			return err
		}
	}
	tell := &teller{w: w, out: stdout, text: text, colour: isTerminal(stdout) && s.colour}
	c := w.takeMail(tell)
	w.watchQueue(ctx)
	w.admin.ready(w.conn.NC().IsConnected)
	end := w.onStop(ctx, tell.goodbye, c.Hurry)
	tell.hello()
	err = c.Run(ctx)
	end()
	if err == nil {
		tell.gone()
	}
	return err
}

func (w *worker) onClose(name string, f func(ctx context.Context) error) {
	w.closers = append(w.closers, closer{name, f})
}

func (w *worker) close() error {
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

func (w *worker) startAdmin(context.Context) error {
	var err error
	if w.admin, err = startAdmin(w.set.worker.AdminAddr, w.reg, w.log); err != nil {
		return &configError{err}
	}
	w.onClose("admin server", w.admin.close)
	return nil
}

func (w *worker) startBroker(ctx context.Context) (err error) {
	if !w.set.embedded() {
		if err := w.refuseMailLeft(ctx); err != nil {
			return err
		}
		if w.conn, err = broker.Dial(ctx, w.set.broker, w.log); err != nil {
			return brokerError(err)
		}
		w.onClose("connection to the broker", w.closeConn)
		return nil
	}
	w.embedded, err = embedded.Start(ctx, w.set.broker, w.set.consumer.Lanes.Names(), w.log)
	if err != nil {
		return &configError{err}
	}
	w.onClose("embedded broker", w.embedded.Shutdown)
	w.watch(ctx, "watch over the store", w.embedded.Watch) // mended where its disk was full
	if w.conn, err = w.embedded.Connect(ctx); err != nil {
		return err
	}
	w.onClose("connection to the broker", w.closeConn)
	return nil
}

// watch runs watch until the worker is told to stop, or has ended.
func (w *worker) watch(ctx context.Context, name string, watch func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx)
	}()
	w.onClose(name, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// watchQueue shows in /metrics how the queue stands.
func (w *worker) watchQueue(ctx context.Context) {
	q := queue.New(w.conn.JS(), w.conn.Store(), w.conn.Now, w.conn.Room)
	g := q.NewGauges(w.set.consumer.Lanes.Names(), w.log)
	w.reg.MustRegister(g)
	w.watch(ctx, "watch over the queue", g.Watch)
}

func (w *worker) closeConn(context.Context) error {
	w.conn.Close()
	return nil
}

// refuseMailLeft keeps mail of an embedded broker from being forgotten when
// another broker is named.
func (w *worker) refuseMailLeft(ctx context.Context) error {
	n, err := embedded.MailLeft(ctx, w.set.broker, w.log)
	if errors.Is(err, embedded.ErrDirInUse) {
		return nil // another worker is sending it
	}
	if err != nil {
		return &configError{err}
	}
	if n > 0 {
		return &configError{fmt.Errorf("POSTRIDER_DATA_DIR %s still holds %d messages of the embedded broker, which a worker with NATS_URL would never send: run a worker without NATS_URL until they are sent, or set POSTRIDER_DATA_DIR to another directory", w.set.broker.DataDir, n)}
	}
	return nil
}

func (w *worker) provision(ctx context.Context) error {
	var warnings []string
	err := w.conn.WhenFormed(ctx, func() (err error) {
		if warnings, err = broker.Provision(ctx, w.conn, w.set.consumer.Lanes.Names(), w.set.broker); err != nil {
			return err
		}
		return w.readAckWait(ctx)
	})
	if err != nil {
		return brokerError(err)
	}
	for _, sentence := range warnings {
		w.log.Warn(sentence)
	}
	return nil
}

// readAckWait goes by what stands at the broker: all workers share the
// consumers.
func (w *worker) readAckWait(ctx context.Context) error {
	w.set.consumer.AckWait = w.set.broker.AckWait
	for _, l := range w.set.consumer.Lanes.Names() {
		for _, s := range l.Sources() {
			d, err := w.conn.AckWait(ctx, s.Stream, s.Consumer)
			if err != nil {
				return err
			}
			w.set.consumer.AckWait = min(w.set.consumer.AckWait, d)
		}
	}
	return nil
}

// brokerError tells a broker that is away from one that somebody has to
// change.
func brokerError(err error) error {
	if errors.Is(err, stream.ErrAway) {
		return err
	}
	return &configError{err}
}

func (w *worker) startRelay(ctx context.Context) (err error) {
	if w.set.development() {
		cfg := devrelay.DefaultConfig()
		cfg.Dir = filepath.Join(w.set.broker.DataDir, "sent")
		if w.dev, err = devrelay.Start(ctx, cfg, w.log); err != nil {
			return &configError{err}
		}
		w.onClose("development relay", w.dev.Close)
		w.set.smtp.URL = w.dev.URL()
	}
	if w.relay, err = smtp.New(w.set.smtp, w.log, w.reg); err != nil {
		return &configError{err}
	}
	w.onClose("sessions with the relay", w.relay.Close)
	return nil
}

// takeMail makes the consumer and what settles its deliveries.
func (w *worker) takeMail(tell *teller) *consumer.Consumer {
	store := w.conn.Store()
	j := journal.New(store)
	gate := &consumer.Gate{Relay: w.relay, Link: w.conn}
	settler := settle.New(w.set.settle, w.set.consumer.Lanes.Names(), settle.Parts{
		Relay: w.relay, Journal: j, DeadLetters: deadletter.New(store, j, w.conn.Now), Store: store,
		Now: w.conn.Now, Full: gate.Full, Settled: tell.settled, Log: w.log, Metrics: w.reg,
	})
	return consumer.New(w.set.consumer, consumer.Parts{
		NATS: w.conn.NC(), Link: w.conn, Durable: w.conn.Consumer, Next: store.Next, Room: w.conn.Room,
		Gate: gate, Settler: settler, Log: w.log, Metrics: w.reg,
		Repair: func(ctx context.Context) error {
			_, err := broker.Provision(ctx, w.conn, w.set.consumer.Lanes.Names(), w.set.broker)
			return err
		},
	})
}

package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/devrelay"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/relays"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/stream"
)

func (w *Worker) startAdmin(context.Context) error {
	var err error
	if w.admin, err = startAdmin(w.set.Process.Admin, w.reg, w.log); err != nil {
		return &ConfigError{err}
	}
	w.onClose("admin server", w.admin.close)
	return nil
}

func (w *Worker) startBroker(ctx context.Context) (err error) {
	if !w.set.embedded() {
		if err := w.refuseMailLeft(ctx); err != nil {
			return err
		}
		if w.conn, err = broker.Dial(ctx, w.set.Broker, w.log); err != nil {
			return brokerError(err)
		}
		w.onClose("connection to the broker", w.closeConn)
		return nil
	}
	w.embedded, err = embedded.Start(ctx, w.set.Broker, w.set.Consumer.Lanes.Names(), w.log)
	if err != nil {
		return &ConfigError{err}
	}
	w.onClose("embedded broker", w.embedded.Shutdown)
	w.watch(ctx, "watch over the store", w.watchStore)
	if w.conn, err = w.embedded.Connect(ctx); err != nil {
		return err
	}
	w.onClose("connection to the broker", w.closeConn)
	return nil
}

// watch runs a function until ctx ends or the worker stops its parts.
func (w *Worker) watch(ctx context.Context, name string, watch func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx)
	}()
	w.onClose(name, func(ctx context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// watchStore repairs the store after its disk was full, and ends the worker where
// only a new one can, or where somebody has removed its files.
func (w *Worker) watchStore(ctx context.Context) {
	err := w.embedded.Watch(ctx)
	if errors.Is(err, embedded.ErrLost) {
		err = &ConfigError{err}
	}
	if err != nil {
		w.stops.fail(err)
	}
}

// lost is why a worker fails that was told to stop while mail is only in its memory.
func (w *Worker) lost() error {
	if w.embedded == nil {
		return nil
	}
	fault, told := w.embedded.Fault(), w.stops.failure() == nil
	if told && errors.Is(fault, embedded.ErrLost) {
		return &ConfigError{fault}
	}
	return nil
}

// watchQueue adds the state of the queue to /metrics.
func (w *Worker) watchQueue(ctx context.Context) {
	g := queueAt(w.conn).NewGauges(w.set.Consumer.Lanes.Names(), w.log)
	w.reg.MustRegister(g)
	w.watch(ctx, "watch over the queue", g.Watch)
}

func queueAt(c *broker.Conn) *queue.Queue { return queue.New(c.JS(), c.Store(), c.Now, c.Room) }

func (w *Worker) closeConn(context.Context) error {
	w.conn.Close()
	return nil
}

// refuseMailLeft refuses NATS_URL while the embedded broker still has mail,
// which nobody would send.
func (w *Worker) refuseMailLeft(ctx context.Context) error {
	n, err := embedded.MailLeft(ctx, w.set.Broker, w.log)
	if errors.Is(err, embedded.ErrDirInUse) {
		return nil // another worker is sending it
	}
	if err != nil {
		return &ConfigError{err}
	}
	if n > 0 {
		return &ConfigError{fmt.Errorf("POSTRIDER_DATA_DIR %s still holds %d messages of the embedded broker, which a worker with NATS_URL would never send: run a worker without NATS_URL until they are sent, or set POSTRIDER_DATA_DIR to another directory", w.set.Broker.DataDir, n)}
	}
	return nil
}

func (w *Worker) provision(ctx context.Context) error {
	var warnings []string
	err := w.conn.WhenFormed(ctx, func() (err error) {
		if warnings, err = broker.Provision(ctx, w.conn, w.set.Consumer.Lanes.Names(), w.set.Broker); err != nil {
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

// readAckWait takes the AckWait that the broker has: all workers share the
// consumers.
func (w *Worker) readAckWait(ctx context.Context) error {
	w.set.Consumer.AckWait, w.set.Consumer.RenewAtArrival = w.set.Broker.AckWait, !w.set.embedded()
	for _, l := range w.set.Consumer.Lanes.Names() {
		for _, s := range l.Sources() {
			d, err := w.conn.AckWait(ctx, s.Stream, s.Consumer)
			if err != nil {
				return err
			}
			w.set.Consumer.AckWait = min(w.set.Consumer.AckWait, d)
		}
	}
	return nil
}

// brokerError makes everything a [ConfigError] but a broker that cannot be
// reached, which may come back by itself.
func brokerError(err error) error {
	if errors.Is(err, stream.ErrAway) {
		return err
	}
	return &ConfigError{err}
}

func (w *Worker) startRelay(ctx context.Context) (err error) {
	if w.set.development() {
		cfg := devrelay.DefaultConfig()
		cfg.Dir = filepath.Join(w.set.Broker.DataDir, "sent")
		if w.dev, err = devrelay.Start(ctx, cfg, w.log); err != nil {
			return &ConfigError{err}
		}
		w.onClose("development relay", w.dev.Close)
		w.set.SMTP.URL = w.dev.URL()
	}
	if w.rules, err = w.set.Relays.Keep(w.log); err != nil {
		return &ConfigError{err}
	}
	w.set.SMTP.Rules = w.rules.Rules
	if w.rules != nil {
		w.reg.MustRegister(rulesGauge(w.rules))
	}
	if w.relay, err = smtp.New(w.set.SMTP, w.log, w.reg); err != nil {
		return &ConfigError{err}
	}
	w.onClose("sessions with the relay", w.relay.Close)
	if w.dev == nil { // the development relay is ready
		w.relay.Look()
	}
	return nil
}

// rulesGauge says in /metrics whether the file of rules is wrong.
func rulesGauge(k *relays.Kept) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postrider_rules_wrong",
		Help: "1 while the file of POSTRIDER_RELAYS is wrong or cannot be read, and the former rules are in force.",
	}, func() float64 {
		if fault, _ := k.Fault(); fault == "" {
			return 0
		}
		return 1
	})
}

// takeMail makes the consumer and what settles its deliveries.
func (w *Worker) takeMail(ctx context.Context) *consumer.Consumer {
	store := w.conn.Store()
	j := journal.New(store)
	gate := &consumer.Gate{Relay: w.relay, Link: w.conn}
	fill := broker.NewFill(ctx, w.conn.Room, w.log) // measured before the first message is fetched
	settler := settle.New(w.set.Settle, w.set.Consumer.Lanes.Names(), w.decorate(settle.Parts{
		Relay: w.relay, Journal: j, DeadLetters: deadletter.New(store, j, w.conn.Now), Store: store,
		Now: w.conn.Now, Full: gate.Full, Settled: w.report.settled, Log: w.log, Metrics: w.reg,
	}))
	repairs := broker.NewRepairs(func(ctx context.Context) error {
		_, err := broker.Provision(ctx, w.conn, w.set.Consumer.Lanes.Names(), w.set.Broker)
		return err
	}, w.log)
	return consumer.New(w.set.Consumer, consumer.Parts{
		NATS: w.conn.NC(), Link: w.conn, Durable: w.conn.Consumer, Store: store, Now: w.conn.Now, Room: fill,
		Gate: gate, Settler: settler, Log: w.log, Metrics: w.reg,
		Interrupted: repairs.After,
	})
}

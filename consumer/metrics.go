package consumer

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

type metrics struct {
	taken      *prometheus.CounterVec
	events     *prometheus.CounterVec
	dead       *prometheus.CounterVec
	outcomes   *prometheus.CounterVec
	inQueue    prometheus.Histogram
	inFlight   prometheus.Gauge
	requeued   prometheus.Counter
	overtaken  prometheus.Counter
	twice      prometheus.Counter
	unrecorded prometheus.Counter
	deleted    prometheus.Counter
	stranded   prometheus.Counter
	left       prometheus.Counter
	panics     prometheus.Counter
}

// newMetrics registers what a worker of those lanes counts. What an alarm goes
// by begins at 0: a counter that appears with its first event hides it from
// increase().
func newMetrics(reg prometheus.Registerer, lanes []wire.Lane) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "postrider", Name: name, Help: help})
	}
	m := &metrics{
		taken: f.NewCounterVec(prometheus.CounterOpts{Namespace: "postrider", Name: "taken_total",
			Help: "Messages that the broker handed to this worker."}, []string{"lane"}),
		dead: f.NewCounterVec(prometheus.CounterOpts{Namespace: "postrider", Name: "dead_letters_total",
			Help: "Recipients that went into a dead letter, by reason; a message that could not be read counts as one."}, []string{"lane", "reason"}),
		events: f.NewCounterVec(prometheus.CounterOpts{Namespace: "postrider", Name: "settled_total",
			Help: "Hops settled, by lane and by what happened."}, []string{"lane", "event"}),
		outcomes: f.NewCounterVec(prometheus.CounterOpts{Namespace: "postrider", Name: "recipient_outcomes_total",
			Help: "Outcomes of recipients in transactions, by class."}, []string{"outcome"}),
		inQueue: f.NewHistogram(prometheus.HistogramOpts{Namespace: "postrider", Name: "time_in_queue_seconds",
			Help: "Time from acceptance by the broker to delivery.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 13)}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{Namespace: "postrider", Name: "in_flight",
			Help: "Messages taken and not settled yet."}),
		requeued:   counter("requeued_total", "Messages returned to the queue without counting an attempt."),
		overtaken:  counter("overtaken_total", "Records that another worker had written first."),
		twice:      counter("accepted_twice_total", "Recipients whom the relay accepted from two workers that held one message."),
		unrecorded: counter("unrecorded_total", "Deliveries acknowledged without a record because there was no room."),
		deleted:    counter("deleted_after_ack_total", "Settled messages deleted because their acknowledgement got no answer."),
		stranded:   counter("stranded_total", "Messages found that no consumer would have handed out."),
		left:       counter("left_total", "Messages left to another delivery because the broker did not take what settles them."),
		panics:     counter("panics_total", "Messages that broke the worker's code; each is tried again, and in the end buried unread."),
	}
	for _, lane := range lanes {
		m.taken.WithLabelValues(string(lane))
		for _, e := range wire.Events {
			m.events.WithLabelValues(string(lane), string(e))
		}
		for _, r := range mail.Reasons {
			m.dead.WithLabelValues(string(lane), string(r))
		}
	}
	return m
}

func (m *metrics) transaction(tx mail.Transaction) {
	for _, o := range tx.Outcomes {
		m.outcomes.WithLabelValues(string(o.Class)).Inc()
	}
}

func (m *metrics) settled(rec *wire.Record) {
	m.events.WithLabelValues(string(rec.Lane), string(rec.Event)).Inc()
	if rec.Event == wire.EventDelivered && !rec.Enqueued.IsZero() {
		m.inQueue.Observe(rec.At.Sub(rec.Enqueued).Seconds())
	}
	if len(rec.Recipients) == 0 && rec.Reason != "" {
		m.dead.WithLabelValues(string(rec.Lane), string(rec.Reason)).Inc()
	}
	for _, x := range rec.Recipients {
		if x.State == wire.StateDead {
			m.dead.WithLabelValues(string(rec.Lane), string(x.Reason)).Inc()
		}
	}
}

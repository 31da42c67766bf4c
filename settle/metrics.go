package settle

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

type metrics struct {
	events     *prometheus.CounterVec
	dead       *prometheus.CounterVec
	outcomes   *prometheus.CounterVec
	inQueue    prometheus.Histogram
	requeued   prometheus.Counter
	overtaken  prometheus.Counter
	twice      prometheus.Counter
	unrecorded prometheus.Counter
	deleted    prometheus.Counter
}

// newMetrics registers what is counted for those lanes. What an alert uses begins
// at 0: a counter that appears with its first event hides it from increase().
func newMetrics(reg prometheus.Registerer, lanes []wire.Lane) *metrics {
	f := promauto.With(reg)
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "postrider", Name: name, Help: help}
	}
	m := &metrics{
		events: f.NewCounterVec(opts("settled_total", "Generations settled, by lane and event."), []string{"lane", "event"}),
		dead: f.NewCounterVec(opts("dead_letters_total",
			"Recipients dead-lettered, by reason. A message that could not be read counts as one."), []string{"lane", "reason"}),
		outcomes: f.NewCounterVec(opts("recipient_outcomes_total", "Outcomes of recipients in transactions, by class."), []string{"outcome"}),
		inQueue: f.NewHistogram(prometheus.HistogramOpts{Namespace: "postrider", Name: "time_in_queue_seconds",
			Help: "Time from acceptance by the broker to delivery.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 13)}),
		requeued:   f.NewCounter(opts("requeued_total", "Attempts that ended with the message put off and nothing counted.")),
		overtaken:  f.NewCounter(opts("overtaken_total", "Records that another worker had written first.")),
		twice:      f.NewCounter(opts("accepted_twice_total", "Recipients that the relay accepted from two workers that held one message.")),
		unrecorded: f.NewCounter(opts("unrecorded_total", "Delivered messages acknowledged without a record because there was no room.")),
		deleted:    f.NewCounter(opts("deleted_after_ack_total", "Settled messages deleted because their acknowledgement got no answer.")),
	}
	for _, lane := range lanes {
		for _, e := range wire.Events {
			m.events.WithLabelValues(string(lane), string(e))
		}
		for _, r := range mail.Reasons {
			m.dead.WithLabelValues(string(lane), string(r))
		}
	}
	return m
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

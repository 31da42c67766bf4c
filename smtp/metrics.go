package smtp

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/mail"
)

// metrics are the counters of one relay. No label holds a recipient, an id or a
// reply.
type metrics struct {
	transactions *prometheus.CounterVec
	recipients   *prometheus.CounterVec
	phases       *prometheus.HistogramVec
	perSession   prometheus.Histogram
}

// newMetrics registers the metrics of r; with a nil registerer, nowhere.
func newMetrics(r *Relay, reg prometheus.Registerer) (*metrics, func(), error) {
	relay := prometheus.Labels{"relay": r.Name()}
	m := &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_smtp_transactions_total", ConstLabels: relay,
			Help: "Transactions by outcome; mixed if the recipients' outcomes differ.",
		}, []string{"outcome"}),
		recipients: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_smtp_recipients_total", ConstLabels: relay,
			Help: "Recipients by outcome, stage and first digit of the reply's code (0: no reply).",
		}, []string{"outcome", "stage", "code"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postrider_smtp_phase_seconds", ConstLabels: relay,
			Help:    "Time of each completed phase of the dialogue.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60, 300, 600},
		}, []string{"phase"}),
		perSession: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postrider_smtp_session_transactions", ConstLabels: relay,
			Help:    "Transactions of a session, counted when it ends.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
		}),
	}
	all := []prometheus.Collector{m.transactions, m.recipients, m.phases, m.perSession}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		labels["relay"] = r.Name()
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	const sessions = "Sessions by state: busy ones are in a transaction or being opened."
	gauge("postrider_smtp_sessions", sessions, prometheus.Labels{"state": "busy"}, func() float64 { busy, _ := r.pool.count(); return float64(busy) })
	gauge("postrider_smtp_sessions", sessions, prometheus.Labels{"state": "idle"}, func() float64 { _, idle := r.pool.count(); return float64(idle) })
	gauge("postrider_smtp_circuit_open", "1 while the relay is believed to be at fault and gets no mail, or one at a time to try.", prometheus.Labels{}, func() float64 {
		if why, _ := r.circuit.state(); why == nil {
			return 0
		}
		return 1
	})
	unregister, err := register(reg, all)
	return m, unregister, err
}

// register registers all or none, and returns the function that removes them.
func register(reg prometheus.Registerer, all []prometheus.Collector) (func(), error) {
	if reg == nil {
		return func() {}, nil
	}
	for i, c := range all {
		if err := reg.Register(c); err != nil {
			unregister(reg, all[:i])
			return nil, fmt.Errorf("register metrics of package smtp: %w", err)
		}
	}
	return func() { unregister(reg, all) }, nil
}

func unregister(reg prometheus.Registerer, all []prometheus.Collector) {
	for _, c := range all {
		reg.Unregister(c)
	}
}

// took observes a completed phase.
func (m *metrics) took(phase string, d time.Duration) {
	m.phases.WithLabelValues(phase).Observe(d.Seconds())
}

// transaction counts the outcomes of one transaction.
func (m *metrics) transaction(outcomes []mail.Outcome) {
	if len(outcomes) == 0 {
		return
	}
	all := string(outcomes[0].Class)
	for _, o := range outcomes {
		if string(o.Class) != all {
			all = "mixed"
		}
		m.recipients.WithLabelValues(string(o.Class), string(o.Stage), strconv.Itoa(o.Code/100)).Inc()
	}
	m.transactions.WithLabelValues(all).Inc()
}

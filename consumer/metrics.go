package consumer

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/postrider/postrider/wire"
)

type metrics struct {
	taken    *prometheus.CounterVec
	inFlight prometheus.Gauge
	stranded prometheus.Counter
	failed   prometheus.Counter
	panics   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, lanes []wire.Lane) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "postrider", Name: name, Help: help})
	}
	m := &metrics{
		taken: f.NewCounterVec(prometheus.CounterOpts{Namespace: "postrider", Name: "taken_total",
			Help: "Messages that the broker delivered to this worker."}, []string{"lane"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{Namespace: "postrider", Name: "in_flight",
			Help: "Messages being settled. Those that wait for a slot are not among them."}),
		stranded: counter("stranded_total", "Messages found that no consumer would have delivered."),
		failed:   counter("left_total", "Messages left in their stream because settling them failed. They are delivered again."),
		panics:   counter("panics_total", "Messages that made the worker's code panic. Each is tried again, and in the end dead-lettered undecoded."),
	}
	for _, lane := range lanes {
		m.taken.WithLabelValues(string(lane))
	}
	return m
}

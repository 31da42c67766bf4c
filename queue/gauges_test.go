package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// shown are the metrics as "name{labels}" and their values.
func shown(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ","))] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// TestGauges: Prometheus sees what postrider status shows.
func TestGauges(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane, "bulk")
	for i := range 12 {
		b.publish(lane, "", envelope(fmt.Sprintf("m%d", i)))
	}
	taken := b.take(5)
	b.must(taken[0].DoubleAck(t.Context()))
	b.later("later", time.Now().Add(time.Hour))
	b.later("due", time.Now().Add(-time.Second))
	b.record("r", wire.EventDelivered)
	b.eventually("waiting 7, due 1, in flight 4, scheduled 1, dead 0", func(queue.Lane) string {
		return counts(b.status().Lanes[1]) // by name: bulk, normal
	})

	g := b.NewGauges([]wire.Lane{lane, "bulk"}, slog.New(slog.DiscardHandler))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(g)
	if got := shown(t, reg); len(got) != 0 {
		t.Errorf("before anything was read: %v", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.Watch(ctx) }()
	var got map[string]float64
	testrun.Eventually(t, "the gauges are shown", natstest.Timeout, func() bool {
		got = shown(t, reg)
		return len(got) > 0
	})
	stop()
	<-done
	for name, want := range map[string]float64{
		"postrider_queue_messages{lane=normal,state=waiting}":      7,
		"postrider_queue_messages{lane=normal,state=due}":          1,
		"postrider_queue_messages{lane=normal,state=in_flight}":    4,
		"postrider_queue_messages{lane=normal,state=scheduled}":    1,
		"postrider_queue_messages{lane=bulk,state=waiting}":        0,
		"postrider_queue_oldest_seconds{lane=bulk}":                0,
		"postrider_queue_takers{lane=normal}":                      0,
		"postrider_stream_accepted_total{stream=MAIL_SEND_NORMAL}": 12,
		"postrider_stream_messages{stream=MAIL_SEND_NORMAL}":       11,
		"postrider_stream_messages{stream=MAIL_RECORD}":            1,
		"postrider_stream_messages{stream=MAIL_DEAD}":              0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
	for _, name := range []string{
		"postrider_queue_oldest_seconds{lane=normal}", "postrider_stream_bytes{stream=MAIL_SEND_NORMAL}", "postrider_store_used_bytes{}",
	} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	if _, ok := got["postrider_event_lag_messages{}"]; !ok {
		t.Error("the lag of the log is missing")
	}
}

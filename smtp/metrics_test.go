package smtp

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/smtptest"
)

// gathered is every sample of reg by name{labels}, without the label relay. The
// value of a histogram is its count.
func gathered(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetName() != "relay" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			key := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.ByAddress())
	reg := prometheus.NewRegistry()
	c := testConfig(server.URL())
	c.MessagesPerSession = 2
	quiet := slog.New(slog.DiscardHandler)
	r, err := New(c, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(c, quiet, reg); err == nil {
		t.Error("the same relay was registered twice")
	}
	r.Deliver(t.Context(), message("a@x.test", "550@x.test"))
	r.Deliver(t.Context(), message("a@x.test"))
	r.Deliver(t.Context(), message("a b@x.test"))
	r.Deliver(t.Context(), message("451@x.test"))
	before := gathered(t, reg)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]float64{
		"postrider_smtp_transactions_total{outcome=mixed}":                    1,
		"postrider_smtp_transactions_total{outcome=delivered}":                1,
		"postrider_smtp_transactions_total{outcome=failed}":                   1,
		"postrider_smtp_transactions_total{outcome=deferred}":                 1,
		"postrider_smtp_recipients_total{code=2,outcome=delivered,stage=dot}": 2,
		"postrider_smtp_recipients_total{code=5,outcome=failed,stage=rcpt}":   1,
		"postrider_smtp_recipients_total{code=4,outcome=deferred,stage=rcpt}": 1,
		"postrider_smtp_recipients_total{code=0,outcome=failed,stage=local}":  1,
		"postrider_smtp_phase_seconds{phase=connect}":                         2,
		"postrider_smtp_phase_seconds{phase=mail}":                            3,
		"postrider_smtp_phase_seconds{phase=rcpt}":                            4,
		"postrider_smtp_phase_seconds{phase=data}":                            3,
		"postrider_smtp_phase_seconds{phase=dot}":                             2,
		"postrider_smtp_sessions{state=idle}":                                 1,
		"postrider_smtp_circuit_open{}":                                       0,
	} {
		if got, ok := before[key]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", key, got, ok, want)
		}
	}
	if after := gathered(t, reg); len(after) != 0 {
		t.Errorf("metrics after Close: %v", after)
	}
}

package env

import (
	"slices"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"5d": 5 * day, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "0d": 0, "-1d12h": -36 * time.Hour,
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "0": 0, "-2h": -2 * time.Hour, "10d1m1s": 10*day + 61*time.Second,
	} {
		if got, err := ParseDuration(s); got != want || err != nil {
			t.Errorf("%q: %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "d", "5", "12h1d", "1d-1h", "1d+1h", "--1d", "1d2d", "1 d", "99999999d", "106751d24h", "soon", "1.2.3d", "1e3d", "1d5"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q is %s, want an error", s, got)
		}
	}
}

func TestDurationsOfSettings(t *testing.T) {
	t.Parallel()
	type times struct {
		Wait  time.Duration   `env:"T_WAIT"`
		After []time.Duration `env:"T_AFTER"`
	}
	s := times{After: []time.Duration{time.Second}}
	lookup := Of([]string{"T_WAIT=5d", "T_AFTER=90s, 2h,1d"})
	if errs := Read(lookup, &s); len(errs) > 0 || s.Wait != 120*time.Hour ||
		!slices.Equal(s.After, []time.Duration{90 * time.Second, 2 * time.Hour, 24 * time.Hour}) {
		t.Errorf("%+v, errors %v", s, errs)
	}
	if got := List(lookup, &s); got[0].Value != "5d" || got[1].Value != "1m30s,2h,1d" {
		t.Errorf("%+v", got)
	}
	if errs := Read(Of([]string{"T_WAIT=soon", "T_AFTER=1m,soon"}), &s); len(errs) != 2 {
		t.Errorf("errors %v", errs)
	}
}

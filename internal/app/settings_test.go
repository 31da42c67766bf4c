package app

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/env"
)

// TestKnown: the list of known settings in internal/env is that of the structs.
// POSTRIDER_MAX_REPLAYS is the operator's program's alone.
func TestKnown(t *testing.T) {
	t.Parallel()
	s, errs := ReadSettings(nil)
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	want := []string{"POSTRIDER_MAX_REPLAYS"}
	for _, g := range s.Groups() {
		for _, v := range env.List(env.Of(nil), g.Targets...) {
			want = append(want, v.Name)
			if v.Secret {
				want = append(want, v.Name+"_FILE")
			}
		}
	}
	got := env.Known()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("env knows\n%s\nwant\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// TestUnknownSetting: a worker does not start with a setting that it would not
// heed.
func TestUnknownSetting(t *testing.T) {
	t.Parallel()
	_, errs := ReadSettings([]string{"SMTP_HOST=relay.example", "POSTRIDER_MAX_ATTEMPTS=0", "POSTRIDER_LOGLEVEL=debug"})
	all := errors.Join(errs...).Error()
	for _, want := range []string{"SMTP_HOST: unknown setting; use SMTP_URL", "POSTRIDER_LOGLEVEL: unknown setting; use POSTRIDER_LOG_LEVEL", "POSTRIDER_MAX_ATTEMPTS: is 0"} {
		if len(errs) != 3 || !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}

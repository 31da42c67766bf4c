package env_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/env"
)

// TestKnown: the list of known settings is that of the structs.
// POSTRIDER_MAX_REPLAYS is the operator's program's alone.
func TestKnown(t *testing.T) {
	t.Parallel()
	s, errs := app.ReadSettings(nil)
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
	got := slices.Clone(env.Known)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("known are\n%s\nwant\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

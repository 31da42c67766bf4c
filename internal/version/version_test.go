package version

import (
	"runtime/debug"
	"testing"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	module := &debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}}
	for _, c := range []struct {
		stamp string
		info  *debug.BuildInfo
		want  string
	}{
		{"v2.0.0", module, "v2.0.0"},
		{"", module, "v1.0.0"},
		{"", &debug.BuildInfo{}, "(devel)"},
		{"", nil, "(devel)"},
	} {
		if got := choose(c.stamp, c.info); got != c.want {
			t.Errorf("choose(%q, %v) = %s, want %s", c.stamp, c.info, got, c.want)
		}
	}
}

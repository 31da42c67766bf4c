package check

import (
	"errors"
	"math"
	"testing"
	"time"
)

// TestDuration: what is reported can be copied into a setting. internal/env tests
// that it is read as it was.
func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", time.Hour: "1h", 24 * time.Hour: "1d", 36 * time.Hour: "1d12h", 120 * time.Hour: "5d",
		25*time.Hour + time.Minute: "1d1h1m", 100 * time.Millisecond: "100ms", -time.Hour: "-1h", -120 * time.Hour: "-5d", -36 * time.Hour: "-1d12h",
		math.MaxInt64: "106751d23h47m16.854775807s", math.MinInt64: "-106751d23h47m16.854775808s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

// TestErrors: an error writes durations as settings do.
func TestErrors(t *testing.T) {
	t.Parallel()
	var wrong Errors
	wrong.If(false, "not said")
	wrong.If(true, "AGE: is %s (%d, %q)", 336*time.Hour, 5, "x")
	cause := errors.New("cause")
	wrong.If(true, "FILE: %w", cause)
	if len(wrong) != 2 || wrong[0].Error() != `AGE: is 14d (5, "x")` || !errors.Is(wrong[1], cause) {
		t.Errorf("%q", wrong)
	}
}

package queue

import (
	"strings"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 80 * time.Second: "1m20s", 10 * time.Minute: "10m", time.Hour: "1h",
		25 * time.Hour: "1d1h", 48 * time.Hour: "2d", 20*time.Hour + 30*time.Minute: "20h30m", 630 * time.Second: "10m30s", 100 * 24 * time.Hour: "100d",
		59*time.Minute + 59*time.Second + 600*time.Millisecond: "1h",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0 mails", 1: "1 mail", 999: "999 mails", 1000: "1,000 mails", 12345678: "12,345,678 mails"} {
		if got := Counted(n, "mail"); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for n, want := range map[uint64]string{0: "0 bytes", 1: "1 byte", 1023: "1,023 bytes", 1024: "1.0 KiB", 3 << 29: "1.5 GiB", 5 << 50: "5120.0 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, at := range map[string]time.Time{" (in 1h)": now.Add(time.Hour), " (1m ago)": now.Add(-time.Minute), " (in 0s)": now} {
		if got := Distant(now, at); !strings.HasSuffix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for want, all := range map[string][]string{
		"": nil, "a, b, c, d": {"a", "b", "c", "d"}, "a, b, c and 2 more": {"a", "b", "c", "d", "e"},
	} {
		if got := Names(all); got != want {
			t.Errorf("%v: %q, want %q", all, got, want)
		}
	}
}

// TestClockNamesItsZone: who reads it elsewhere, or later, must not guess.
func TestClockNamesItsZone(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	got, err := time.Parse(ClockLayout, Clock(at))
	if err != nil || !got.Equal(at.Truncate(time.Second)) {
		t.Errorf("%s: %v", Clock(at), err)
	}
}

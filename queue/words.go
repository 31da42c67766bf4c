package queue

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How numbers, times, addresses and ids are written for people.

// Thousands writes 12345 as 12,345.
func Thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Counted is a number and its noun: "1 stream", "2,000 streams".
func Counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Thousands(n) + " " + noun + "s"
}

// Names lists addresses; if there are many, the first few.
func Names(addresses []string) string {
	const most = 3
	if len(addresses) <= most+1 {
		return strings.Join(addresses, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(addresses[:most], ", "), len(addresses)-most)
}

// Span writes a duration in its two largest units: 2d3h, 5m20s, 4s.
func Span(d time.Duration) string {
	d = d.Round(time.Second)
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return units(d, time.Minute, "m", time.Second, "s")
	case d < day:
		return units(d, time.Hour, "h", time.Minute, "m")
	}
	return units(d, day, "d", time.Hour, "h")
}

// units writes d in two units, without a zero of the smaller one.
func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d%s", d/large, largeName)
	if n := d % large / small; n > 0 {
		s += fmt.Sprintf("%d%s", n, smallName)
	}
	return s
}

// ClockLayout is RFC 3339 with a space. --since and --until read it.
const ClockLayout = "2006-01-02 15:04:05Z07:00"

// Clock is a time in the time zone of this process, which it names.
func Clock(t time.Time) string { return t.Local().Format(ClockLayout) }

// Distant is a time and how far away it is.
func Distant(now, t time.Time) string {
	if d := t.Sub(now); d >= 0 {
		return Clock(t) + " (in " + Span(d) + ")"
	}
	return Clock(t) + " (" + Span(now.Sub(t)) + " ago)"
}

// Bytes is a size: "12 bytes", "1.0 GiB".
func Bytes(n uint64) string {
	const kib = 1 << 10
	if n < kib {
		return Counted(n, "byte")
	}
	x, units := float64(n)/kib, []string{"KiB", "MiB", "GiB", "TiB"}
	for x >= kib && len(units) > 1 {
		x, units = x/kib, units[1:]
	}
	return fmt.Sprintf("%.1f %s", x, units[0])
}

// Percent is the share of a part: "75 %".
func Percent(part, whole uint64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

// Clause is ": s"; nothing for an empty s.
func Clause(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

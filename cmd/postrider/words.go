package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/wire"
)

// writeJSON writes v as one line.
func writeJSON(out io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintln(out, string(b))
	return err
}

// thousands writes 12345 as 12,345.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short writes a duration in its two largest units: 2d3h, 5m20s, 4s.
func short(d time.Duration) string {
	d = d.Round(time.Second)
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return trimZero(fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second), "0s")
	case d < day:
		return trimZero(fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute), "0m")
	}
	return trimZero(fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour), "0h")
}

// trimZero takes "0s" off 5m0s and leaves 5m20s.
func trimZero(s, zero string) string {
	if strings.HasSuffix(s, zero) && len(s) > len(zero)+1 && strings.ContainsAny(s[len(s)-len(zero)-1:len(s)-len(zero)], "mhd") {
		return strings.TrimSuffix(s, zero)
	}
	return s
}

// clock is a time as the operator's own clock shows it.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// from is a time and how far away it is.
func from(now, t time.Time) string {
	if d := t.Sub(now); d >= 0 {
		return clock(t) + " (in " + short(d) + ")"
	}
	return clock(t) + " (" + short(now.Sub(t)) + " ago)"
}

// names lists addresses, of many the first few.
func names(addresses []string) string {
	const most = 3
	if len(addresses) <= most+1 {
		return strings.Join(addresses, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(addresses[:most], ", "), len(addresses)-most)
}

// moment reads a time, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a time like 2030-01-02T15:04:05Z nor a duration like 2h", s)
	}
	return t, nil
}

// words are an outcome's reply, or what was wrong where there was none.
func words(o wire.GroupedOutcome) string {
	return wire.RecipientRecord{Code: o.Code, Enhanced: o.Enhanced, Reply: o.Reply}.Words()
}

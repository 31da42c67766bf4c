package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/queue"
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

// list is what a flag may be.
func list[T ~string](values []T) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return strings.Join(all, ", ")
}

// moment reads a time, also as [queue.Clock] writes it, in the local time zone if it
// names none, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := env.ParseDuration(s); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%q is in the future: say how long ago, like 2h or 3d", s)
		}
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, queue.ClockLayout, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time like \"2030-01-02 15:04:05\" or 2030-01-02T15:04:05Z nor a duration like 2h or 3d", s)
}

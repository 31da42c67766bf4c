package env

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// days is a number of days before the rest of a duration, with a sign.
var days = regexp.MustCompile(`^([+-]?)([0-9]+(?:\.[0-9]+)?)d([0-9.].*)?$`)

// ParseDuration reads a duration as time.ParseDuration does, and also days of 24
// hours before the other units: 3d, 1d12h.
func ParseDuration(s string) (time.Duration, error) {
	m := days.FindStringSubmatch(s)
	if m == nil {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, notDuration(s)
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(m[2], 64)
	if err != nil || n > 100_000 { // time.Duration holds about 106,751 days
		return 0, notDuration(s)
	}
	var rest time.Duration
	if m[3] != "" {
		if rest, err = time.ParseDuration(m[3]); err != nil || rest > 1000*24*time.Hour {
			return 0, notDuration(s)
		}
	}
	d := time.Duration(n*float64(24*time.Hour)) + rest
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

func notDuration(s string) error {
	return fmt.Errorf("%q is not a duration like 10s, 2h or 3d", s)
}

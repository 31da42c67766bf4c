package env

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// ParseDuration is [time.ParseDuration] with the unit d for 24 hours, which
// comes first: "5d", "1d12h", "1.5d".
func ParseDuration(s string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(s, "d")
	if !hasDays {
		return parseHours(s, s)
	}
	number := strings.TrimPrefix(days, "-")
	if number == "" || strings.Trim(number, "0123456789.") != "" || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, notADuration(s)
	}
	d, err := parseHours(number+"h", s)
	if err != nil || d > math.MaxInt64/24 {
		return 0, notADuration(s)
	}
	d *= 24
	if rest != "" {
		more, err := parseHours(rest, s)
		if err != nil || more > math.MaxInt64-d {
			return 0, notADuration(s)
		}
		d += more
	}
	if number != days {
		d = -d
	}
	return d, nil
}

// parseHours parses a part of a duration that has no days.
func parseHours(part, whole string) (time.Duration, error) {
	d, err := time.ParseDuration(part)
	if err != nil {
		return 0, notADuration(whole)
	}
	return d, nil
}

func notADuration(s string) error {
	return fmt.Errorf("%q is not a duration like 90s, 2h or 1d12h", s)
}

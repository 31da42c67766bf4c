package env

import (
	"fmt"
	"strings"
	"time"
)

// FormatDuration writes a duration as [ParseDuration] reads it, and as short as
// it can: 90s is 1m30s, 120h is 5d.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	days := d / day
	if days <= 0 {
		return short(d)
	}
	if d%day == 0 {
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, short(d%day))
}

// short leaves out the zeros of 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Duration is a duration as a flag's value, a pflag.Value:
//
//	cmd.Flags().Var((*env.Duration)(&timeout), "timeout", "how long to wait")
type Duration time.Duration

// String implements pflag.Value. Help texts do not show a default of "0".
func (d *Duration) String() string {
	if *d == 0 {
		return "0"
	}
	return FormatDuration(time.Duration(*d))
}

// Set implements pflag.Value.
func (d *Duration) Set(s string) error {
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Type implements pflag.Value. Help texts and errors show it.
func (d *Duration) Type() string { return "duration" }

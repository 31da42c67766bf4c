package env

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/mail"
)

// FormatDuration writes a duration as [ParseDuration] reads it, and as short as
// it can: 90s is 1m30s, 120h is 5d.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	days := d / day
	if days <= 0 {
		return mail.ShortDuration(d)
	}
	if d%day == 0 {
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, mail.ShortDuration(d%day))
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

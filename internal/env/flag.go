package env

import (
	"time"

	"github.com/postrider/postrider/internal/check"
)

// Duration is a duration as a flag's value, a pflag.Value:
//
//	cmd.Flags().Var((*env.Duration)(&timeout), "timeout", "how long to wait")
type Duration time.Duration

// String implements pflag.Value. Help texts do not show a default of "0".
func (d *Duration) String() string {
	if *d == 0 {
		return "0"
	}
	return check.Duration(time.Duration(*d))
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

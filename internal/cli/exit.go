// Package cli is what the programs share as commands: how they end, what
// they say of wrong use, how they reach the broker, and how they are typed.
package cli

import (
	"errors"
	"fmt"
)

// Exit statuses, from sysexits.h.
const (
	OK          = 0
	Usage       = 64
	Data        = 65
	NoInput     = 66
	Unavailable = 69
	InOut       = 74
	TempFail    = 75
	Config      = 78
)

// ExitError is an error with the status to exit with.
type ExitError struct {
	error

	Status int
}

// Unwrap gives the error.
func (e *ExitError) Unwrap() error { return e.error }

// Fail gives an error its status. One whose text is empty has been said.
func Fail(status int, err error) error { return &ExitError{err, status} }

// Failf is [Fail] with words.
func Failf(status int, format string, args ...any) error {
	return &ExitError{fmt.Errorf(format, args...), status}
}

// Wrongf says what is wrong with the way in which a command is called. How it
// is called is added by [Run].
func Wrongf(format string, args ...any) error { return Failf(Usage, format, args...) }

// Status is the one to exit with. What has none could not be read or written.
func Status(err error) int {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*ExitError](err); ok {
		return e.Status
	}
	return InOut
}

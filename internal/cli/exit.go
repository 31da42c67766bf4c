// Package cli is what the programs share as commands: exit statuses, errors of
// wrong use, signals, the connection to the broker, and what to type to start
// another program.
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
	NoPerm      = 77
	Config      = 78
)

// ExitError is an error with the status to exit with.
type ExitError struct {
	error

	Status int
}

// Unwrap returns the error.
func (e *ExitError) Unwrap() error { return e.error }

// Fail adds the status to an error. An error with an empty text has been reported
// already.
func Fail(status int, err error) error { return &ExitError{err, status} }

// Failf is [Fail] with a new error.
func Failf(status int, format string, args ...any) error {
	return &ExitError{fmt.Errorf(format, args...), status}
}

// Wrongf is an error of wrong use. [Run] adds the usage of the command.
func Wrongf(format string, args ...any) error { return Failf(Usage, format, args...) }

// Status is the status to exit with. An error without one is an error of reading
// or writing.
func Status(err error) int {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*ExitError](err); ok {
		return e.Status
	}
	return InOut
}

// Package check collects what is wrong with settings, so that all of it is reported
// at once, and writes durations as settings are read.
package check

import (
	"fmt"
	"time"
)

// Errors are the errors found so far. Its zero value has none.
type Errors []error

// If adds an error if something is wrong. It writes durations as [Duration] does.
func (e *Errors) If(wrong bool, format string, args ...any) {
	if !wrong {
		return
	}
	// In place, so that go vet still checks what callers pass for the format.
	for i, a := range args {
		if d, ok := a.(time.Duration); ok {
			args[i] = Duration(d)
		}
	}
	*e = append(*e, fmt.Errorf(format, args...))
}

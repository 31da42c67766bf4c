// Package check collects what is wrong with settings, so that all of it is reported
// at once.
package check

import "fmt"

// Errors are the errors found so far. Its zero value has none.
type Errors []error

// If adds an error if something is wrong.
func (e *Errors) If(wrong bool, format string, args ...any) {
	if wrong {
		*e = append(*e, fmt.Errorf(format, args...))
	}
}

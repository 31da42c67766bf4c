// Package testsize is the size that tests run at.
package testsize

import "os"

// Full reports that tests are to run at their full size, as .ci/full does.
func Full() bool { return os.Getenv("POSTRIDER_TEST_FULL") != "" }

// Pick is the size to run with.
func Pick[T any](short, long T) T {
	if Full() {
		return long
	}
	return short
}

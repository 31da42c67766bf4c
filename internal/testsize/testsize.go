// Package testsize is the size that tests run at.
package testsize

import (
	"flag"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Full reports that tests are to run at their full size, as .ci/full does.
func Full() bool { return os.Getenv("POSTRIDER_TEST_FULL") != "" }

// Pick is the size to run with.
func Pick[T any](short, long T) T {
	if Full() {
		return long
	}
	return short
}

// Beside lets a test of programs run beside others. At its full size it has the
// machine for itself, for it measures.
func Beside(t *testing.T) {
	t.Helper()
	if !Full() {
		t.Parallel()
	}
}

// memory is a file system in memory that most Linux machines have, and enough is
// the room that the tests of all packages need there at once.
const (
	memory = "/dev/shm"
	enough = 4 << 30
)

// Share is for TestMain of a package whose tests wait more than they work: that
// many of them run at once, where -parallel does not say otherwise. At the short
// size their files are in memory, if there is room, for they would wait for the
// disk most of all. Programs may not run there: build them before.
func Share(atOnce int) {
	err := flag.Set("test.parallel", strconv.Itoa(atOnce))
	if err == nil && !Full() && os.Getenv("TMPDIR") == "" && free(memory) >= enough {
		err = os.Setenv("TMPDIR", memory)
	}
	if err != nil {
		panic(err)
	}
}

// free is the room in a directory; none if it is not there.
func free(dir string) uint64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0
	}
	return uint64(s.Bavail) * uint64(s.Bsize) //nolint:unconvert // signed on other systems
}

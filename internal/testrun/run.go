package testrun

import (
	"flag"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Tests are the tests of a package that wait more than they work, and that start
// what would outlive them.
type Tests struct {
	*testing.M
	// AtOnce is how many of them run at once, where -parallel does not say otherwise.
	AtOnce int
}

// Run runs them. At the short size their files are in memory, if there is room,
// for they would wait for the disk most of all; programs may not run there. Tests
// that take too long, or are told to end by a signal, end what they left with
// [OnAbort] first.
func (x Tests) Run() int {
	must(flag.Set("test.parallel", strconv.Itoa(x.AtOnce)))
	flag.Parse()
	parent := ""
	if !Full() && os.Getenv("TMPDIR") == "" && free(memory) >= enough {
		parent = memory
	}
	dir, err := os.MkdirTemp(parent, "postrider-test")
	must(err)
	defer func() { _ = os.RemoveAll(dir) }()
	must(os.Setenv("TMPDIR", dir))
	OnAbort(func() { _ = os.RemoveAll(dir) })
	return x.M.Run()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// memory is a file system in memory that most Linux machines have, and enough is
// the room that the tests of all packages need there at once.
const (
	memory = "/dev/shm"
	enough = 4 << 30
)

// free is the room in a directory; none if it is not there.
func free(dir string) uint64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0
	}
	return uint64(s.Bavail) * uint64(s.Bsize) //nolint:unconvert // signed on other systems
}

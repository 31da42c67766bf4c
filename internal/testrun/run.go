package testrun

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
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
// that take too long end shortly before Go would end them, after what they left
// with [OnTimeout].
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
	OnTimeout(func() { _ = os.RemoveAll(dir) })
	if timeout := timeout(); timeout > 0 {
		defer time.AfterFunc(timeout-min(timeout/4, timeoutMargin), func() {
			endAll()
			debug.SetTraceback("all")
			panic(fmt.Sprintf("test timed out, %s allowed; what it had started is ended", timeout))
		}).Stop()
	}
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

// timeoutMargin is what the end of some thirty containers may take.
const timeoutMargin = 30 * time.Second

// timeout is what go test allows a package.
func timeout() time.Duration {
	d, _ := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration)
	return d
}

// left is what to end if the tests run out of time, in the order of its making.
var left struct {
	mu   sync.Mutex
	n    int
	ends map[int]func()
}

// OnTimeout has end called if the tests run out of time: Go then ends them without
// their cleanup. Call done once it is not needed any more.
func OnTimeout(end func()) (done func()) {
	left.mu.Lock()
	defer left.mu.Unlock()
	if left.ends == nil {
		left.ends = map[int]func(){}
	}
	n := left.n
	left.n++
	left.ends[n] = end
	return func() {
		left.mu.Lock()
		defer left.mu.Unlock()
		delete(left.ends, n)
	}
}

// endAll ends what is left, the last first.
func endAll() {
	left.mu.Lock()
	defer left.mu.Unlock()
	for n := left.n - 1; n >= 0; n-- {
		if end := left.ends[n]; end != nil {
			end()
		}
	}
}

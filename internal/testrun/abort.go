package testrun

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// left is what to end if the tests do not come to their end, in the order of its
// making.
var left struct {
	mu   sync.Mutex
	n    int
	ends map[int]func()
}

// watching begins with the first [OnAbort].
var watching sync.Once

// OnAbort has end called if the tests run out of time, or are told to end by a
// signal: Go then ends them without their cleanup. Call done once it is not needed any
// more. What a package makes before its tests run is registered too: their time counts
// from the first call.
func OnAbort(end func()) (done func()) {
	left.mu.Lock()
	defer left.mu.Unlock()
	watching.Do(func() {
		left.ends = map[int]func(){}
		watchSignals()
		watchTime()
	})
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

// interrupted is the exit status of a program that a signal ended.
const interrupted = 130

func watchSignals() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	go waitForSignal(told)
}

// waitForSignal lives as long as the process.
func waitForSignal(told <-chan os.Signal) {
	fmt.Fprintf(os.Stderr, "%v: what the tests had started is ended\n", <-told)
	endAll()
	os.Exit(interrupted)
}

// timeoutMargin is what the end of some thirty containers may take.
const timeoutMargin = 30 * time.Second

// watchTime ends the tests shortly before Go would: that counts the time from when they
// run, but go test ends the process a minute after the same time from its start.
func watchTime() {
	if !flag.Parsed() {
		flag.Parse()
	}
	timeout, _ := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration)
	if timeout <= 0 {
		return
	}
	time.AfterFunc(timeout-min(timeout/4, timeoutMargin), func() {
		endAll()
		debug.SetTraceback("all")
		panic(fmt.Sprintf("test timed out, %s allowed; what it had started is ended", timeout))
	})
}

package fleet

import (
	"os"
	"time"
)

// full reports that the sizes are those of .ci/full; the others run everywhere.
var full = os.Getenv("POSTRIDER_TEST_FULL") != ""

// pick is the size to run with.
func pick[T any](short, long T) T {
	if full {
		return long
	}
	return short
}

var (
	rate        = pick(40, 100)
	leaderKills = pick(1, 3)
	killEvery   = pick(5*time.Second, 30*time.Second)
	downFor     = pick(2*time.Second, 10*time.Second)
	leaderCut   = pick(8*time.Second, 20*time.Second)
	relayCut    = pick(8*time.Second, 20*time.Second)
	rolled      = pick(2, 4)
	wipes       = pick(1, 3)
)

package fleet

import (
	"time"

	"github.com/postrider/postrider/internal/testsize"
)

var (
	rate        = testsize.Pick(40, 100)
	leaderKills = testsize.Pick(1, 3)
	killEvery   = testsize.Pick(5*time.Second, 30*time.Second)
	downFor     = testsize.Pick(2*time.Second, 10*time.Second)
	leaderCut   = testsize.Pick(8*time.Second, 20*time.Second)
	relayCut    = testsize.Pick(8*time.Second, 20*time.Second)
	rolled      = testsize.Pick(2, 4)
	wipes       = testsize.Pick(1, 3)
)

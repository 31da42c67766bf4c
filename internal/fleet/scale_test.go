package fleet

import (
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

var (
	rate        = testrun.Pick(40, 100)
	leaderKills = testrun.Pick(1, 3)
	killEvery   = testrun.Pick(5*time.Second, 30*time.Second)
	downFor     = testrun.Pick(2*time.Second, 10*time.Second)
	leaderCut   = testrun.Pick(8*time.Second, 20*time.Second)
	relayCut    = testrun.Pick(8*time.Second, 20*time.Second)
	rolled      = testrun.Pick(2, 4)
	wipes       = testrun.Pick(1, 3)
	backlog     = testrun.Pick(200, 600)
	stepFor     = testrun.Pick(6*time.Second, 40*time.Second)
	stepEvery   = testrun.Pick(500*time.Millisecond, 2*time.Second)
)

package fleet

import (
	"time"

	"github.com/postrider/postrider/internal/storm"
)

var (
	rate        = storm.Pick(40, 100)
	leaderKills = storm.Pick(1, 3)
	killEvery   = storm.Pick(5*time.Second, 30*time.Second)
	downFor     = storm.Pick(2*time.Second, 10*time.Second)
	leaderCut   = storm.Pick(8*time.Second, 20*time.Second)
	relayCut    = storm.Pick(8*time.Second, 20*time.Second)
	rolled      = storm.Pick(2, 4)
	wipes       = storm.Pick(1, 3)
)

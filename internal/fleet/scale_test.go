//go:build !accept

package fleet

import "time"

// Sizes as they run everywhere; make containers runs them in full.
const (
	rate        = 40
	leaderKills = 1
	killEvery   = 5 * time.Second
	downFor     = 2 * time.Second
	leaderCut   = 8 * time.Second
	relayCut    = 8 * time.Second
	rolled      = 2
	wipes       = 1
)

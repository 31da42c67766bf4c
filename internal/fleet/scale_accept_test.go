//go:build accept

package fleet

import "time"

// Sizes in full.
const (
	rate        = 100
	leaderKills = 3
	killEvery   = 30 * time.Second
	downFor     = 10 * time.Second
	leaderCut   = 20 * time.Second
	relayCut    = 20 * time.Second
	rolled      = 4
	wipes       = 3
)

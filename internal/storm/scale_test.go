package storm

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
	stormMails       = pick(800, 20000)
	stormFor         = pick(12*time.Second, time.Minute)
	stormBrokerKills = pick(1, 5)
	stormRelayKills  = pick(1, 5)
	brokenMails      = pick(1500, 5000)
	brokenFor        = pick(10*time.Second, 20*time.Second)
	brokenEvery      = 200 * time.Millisecond
	slowMails        = pick(60, 600)
	stops            = pick(5, 20)
	soakFor          = pick(30*time.Second, 30*time.Minute)
	soakTimes        = pick(30, 180)
	powerCuts        = pick(2, 15)
	awayFor          = pick(5*time.Second, time.Minute)
	relayGoneFor     = pick(5*time.Second, time.Minute)
	goneMails        = pick(300, 3000)
	halfDeadMails    = pick(300, 2000)
	upgradeMails     = pick(300, 3000)
	diskFullFor      = pick(5*time.Second, 30*time.Second)
	operatorsMails   = pick(300, 6000)
	operatorsFor     = pick(10*time.Second, time.Minute)
	operatorsActs    = pick(600, 10000)
)

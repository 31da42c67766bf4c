//go:build accept

package storm

import "time"

// Sizes in full.
const (
	stormMails       = 20000
	stormFor         = time.Minute
	stormBrokerKills = 5
	stormRelayKills  = 5
	brokenMails      = 5000
	brokenFor        = 20 * time.Second
	brokenEvery      = 200 * time.Millisecond
	slowMails        = 600
	stops            = 20
	soakFor          = 30 * time.Minute
	soakTimes        = 180
	powerCuts        = 15
	awayFor          = time.Minute
	relayGoneFor     = time.Minute
	goneMails        = 3000
	halfDeadMails    = 2000
	upgradeMails     = 3000
	diskFullFor      = 30 * time.Second
	operatorsMails   = 6000
	operatorsFor     = time.Minute
	operatorsActs    = 10000
)

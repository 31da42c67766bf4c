//go:build !accept

package storm

import "time"

// Sizes as they run everywhere; make storm runs them in full.
const (
	stormMails       = 800
	stormFor         = 12 * time.Second
	stormBrokerKills = 1
	stormRelayKills  = 1
	brokenMails      = 1500
	brokenFor        = 10 * time.Second
	brokenEvery      = 200 * time.Millisecond
	slowMails        = 60
	stops            = 5
	soakFor          = 30 * time.Second
	soakTimes        = 30
	powerCuts        = 2
	awayFor          = 5 * time.Second
	relayGoneFor     = 5 * time.Second
	goneMails        = 300
	halfDeadMails    = 300
	upgradeMails     = 300
	diskFullFor      = 5 * time.Second
	operatorsMails   = 300
	operatorsFor     = 10 * time.Second
	operatorsActs    = 600
)

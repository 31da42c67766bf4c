package storm

import (
	"time"
)

var (
	stormMails       = Pick(800, 20000)
	stormFor         = Pick(12*time.Second, time.Minute)
	stormBrokerKills = Pick(1, 5)
	stormRelayKills  = Pick(1, 5)
	brokenMails      = Pick(1500, 5000)
	brokenFor        = Pick(10*time.Second, 20*time.Second)
	brokenEvery      = 200 * time.Millisecond
	slowMails        = Pick(60, 600)
	stops            = Pick(5, 20)
	soakFor          = Pick(30*time.Second, 30*time.Minute)
	soakTimes        = Pick(30, 180)
	powerCuts        = Pick(2, 15)
	awayFor          = Pick(5*time.Second, time.Minute)
	relayGoneFor     = Pick(5*time.Second, time.Minute)
	goneMails        = Pick(300, 3000)
	halfDeadMails    = Pick(300, 2000)
	upgradeMails     = Pick(300, 3000)
	diskFullFor      = Pick(5*time.Second, 30*time.Second)
	operatorsMails   = Pick(300, 6000)
	operatorsFor     = Pick(10*time.Second, time.Minute)
	operatorsActs    = Pick(600, 10000)
)

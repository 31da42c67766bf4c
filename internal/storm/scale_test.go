package storm

import (
	"time"

	"github.com/postrider/postrider/internal/testsize"
)

var (
	stormMails       = testsize.Pick(800, 20000)
	stormFor         = testsize.Pick(12*time.Second, time.Minute)
	stormBrokerKills = testsize.Pick(1, 5)
	stormRelayKills  = testsize.Pick(1, 5)
	brokenMails      = testsize.Pick(1500, 5000)
	brokenFor        = testsize.Pick(10*time.Second, 20*time.Second)
	brokenEvery      = 200 * time.Millisecond
	slowMails        = testsize.Pick(60, 600)
	stops            = testsize.Pick(5, 20)
	soakFor          = testsize.Pick(30*time.Second, 30*time.Minute)
	soakTimes        = testsize.Pick(30, 180)
	powerCuts        = testsize.Pick(2, 15)
	awayFor          = testsize.Pick(5*time.Second, time.Minute)
	relayGoneFor     = testsize.Pick(5*time.Second, time.Minute)
	goneMails        = testsize.Pick(300, 3000)
	halfDeadMails    = testsize.Pick(300, 2000)
	upgradeMails     = testsize.Pick(300, 3000)
	diskFullFor      = testsize.Pick(5*time.Second, 30*time.Second)
	operatorsMails   = testsize.Pick(300, 6000)
	operatorsFor     = testsize.Pick(10*time.Second, time.Minute)
	operatorsActs    = testsize.Pick(600, 10000)
)

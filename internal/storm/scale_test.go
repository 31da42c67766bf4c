package storm

import (
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

var (
	stormMails       = testrun.Pick(800, 20000)
	stormFor         = testrun.Pick(12*time.Second, time.Minute)
	stormBrokerKills = testrun.Pick(1, 5)
	stormRelayKills  = testrun.Pick(1, 5)
	brokenMails      = testrun.Pick(1500, 5000)
	brokenFor        = testrun.Pick(10*time.Second, 20*time.Second)
	brokenEvery      = 200 * time.Millisecond
	slowMails        = testrun.Pick(60, 600)
	stops            = testrun.Pick(5, 20)
	soakFor          = testrun.Pick(30*time.Second, 30*time.Minute)
	soakTimes        = testrun.Pick(30, 180)
	powerCuts        = testrun.Pick(2, 15)
	awayFor          = testrun.Pick(5*time.Second, time.Minute)
	relayGoneFor     = testrun.Pick(5*time.Second, time.Minute)
	goneMails        = testrun.Pick(300, 3000)
	halfDeadMails    = testrun.Pick(300, 2000)
	upgradeMails     = testrun.Pick(300, 3000)
	diskFullFor      = testrun.Pick(5*time.Second, 30*time.Second)
	operatorsMails   = testrun.Pick(300, 6000)
	operatorsFor     = testrun.Pick(10*time.Second, time.Minute)
	operatorsActs    = testrun.Pick(600, 10000)
	backlogFor       = testrun.Pick(4*time.Second, time.Minute)
	stepEvery        = testrun.Pick(500*time.Millisecond, 2*time.Second)
	backlogAckWait   = testrun.Pick(4*time.Second, 30*time.Second)
	backlogKillEvery = testrun.Pick(2*time.Second, 5*time.Second)
)

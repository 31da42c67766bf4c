package e2e

import (
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

// size is how much the tests that load and kill do.
type size struct {
	loadMails, killMails, killTimes int
	outageMails                     int
	outageTime, laterTime           time.Duration
	stopMails, firstMails           int
	brokerMails, brokerKills        int
	operatorMails                   int
	operatorWithin                  time.Duration
}

// scale is small unless POSTRIDER_TEST_FULL is set, as make accept does.
var scale = func() size {
	if testrun.Full() {
		return size{
			loadMails: 10000, killMails: 5000, killTimes: 8,
			outageMails: 1000, outageTime: 5 * time.Minute, laterTime: 10 * time.Second,
			stopMails: 1000, firstMails: 100, brokerMails: 5000, brokerKills: 5,
			operatorMails: 10000, operatorWithin: time.Second,
		}
	}
	return size{
		loadMails: 1000, killMails: 400, killTimes: 3,
		outageMails: 100, outageTime: 5 * time.Second, laterTime: 3 * time.Second,
		stopMails: 100, firstMails: 10, brokerMails: 300, brokerKills: 2,
		operatorMails: 1000, operatorWithin: 5 * time.Second, // tests of other packages run beside it
	}
}()

//go:build !accept

package main

import "time"

// Sizes of the tests in accept_test.go as they run everywhere; make accept
// runs them in full.
const (
	loadMails   = 1000
	killMails   = 400
	killTimes   = 3
	outageMails = 100
	outageTime  = 5 * time.Second
	laterTime   = 3 * time.Second
	stopMails   = 100
	firstMails  = 10
	brokerMails = 300
	brokerKills = 2

	operatorMails  = 1000
	operatorWithin = 5 * time.Second // tests of other packages run beside it
)

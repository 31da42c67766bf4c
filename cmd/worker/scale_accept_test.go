//go:build accept

package main

import "time"

// Sizes of the tests in accept_test.go in full.
const (
	loadMails   = 10000
	killMails   = 5000
	killTimes   = 8
	outageMails = 1000
	outageTime  = 5 * time.Minute
	laterTime   = 10 * time.Second
	stopMails   = 1000
	firstMails  = 100
	brokerMails = 5000
	brokerKills = 5

	operatorMails  = 10000
	operatorWithin = time.Second
)

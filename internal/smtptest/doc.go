// Package smtptest is a relay that answers what a test tells it to. It is an
// SMTP server of its own, hand-written so that it can be as wrong as a relay in
// the field: late, out of step, silent, dripping, gone.
//
//	relay := smtptest.New(t, smtptest.On("RCPT", smtptest.Answer{Reply: "451 4.7.1 later"}))
//	… relay.URL() …
//	relay.Messages()
//
// Without an answer for a command it accepts, so a test says only what goes
// wrong. [Start] is the same without a testing.TB, and ./relay a process.
package smtptest

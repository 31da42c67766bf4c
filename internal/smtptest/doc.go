// Package smtptest is a relay that answers what a test tells it to. It is written
// from scratch, so that it can misbehave like relays in the field: late, out of
// step, silent, one byte at a time, or gone.
//
//	relay := smtptest.New(t, smtptest.On("RCPT", smtptest.Answer{Reply: "451 4.7.1 later"}))
//	… relay.URL() …
//	relay.Messages()
//
// It accepts every command that has no such answer, so a test says only what goes
// wrong. [Start] is the same without a testing.TB; ./relay is the same as a process.
package smtptest

// Package settle takes one delivery through the five steps, each in a file of its
// own. Steps 2 and 3 alternate, and a lost race begins again at 1:
//
//  1. lookup: what is recorded of the key
//  2. attempt: SMTP transactions for those not delivered yet
//  3. record: all outcomes, by compare-and-set
//  4. forward: a copy for those to try later, a dead letter for those who failed
//  5. ack, confirmed
//
// A key says whose message it is, for ever: where and when it was accepted, and all its
// recipients or one of them. What is tried later is published again as a copy under the
// same key; the generation counts the copies. The record of a key is what is known of it
// at one generation, and the last record counts.
//
// The process may end between any two of them: the next delivery of the message
// looks up the record and continues from it. ARCHITECTURE.md lists what happens
// at each crash.
//
// Two workers may hold one message after a crash, a lost connection, or while a
// process was suspended. Then the first writer of the record wins. The second one goes on from
// that record if it leaves recipients pending, otherwise it merges (record.go,
// merge.go). A delivery whose lease has expired sends no final dot and asks
// before every write whether its message is still in its stream (write.go); only merges,
// which add what the relay has accepted, need not ask.
//
// What becomes of a recipient is decided by pure functions (policy.go). The
// package knows neither JetStream pulls, which are package consumer's, nor SMTP.
package settle

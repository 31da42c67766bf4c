//go:build broken_ack_first

package fleet

// workerTags break the order of settling: with this tag the tests have to find
// lost mail.
const workerTags = "broken_ack_first"

//go:build !broken_ack_first && !broken_copy_last

package consumer

// The order of settling is what the promise hangs on. A build with a tag of
// these breaks it, for the test that the checker of package storm sees it.
const (
	ackBeforeRecord = false
	copyAfterAck    = false
)

//go:build !broken_ack_first && !broken_copy_last && !night_off

package consumer

// The order of settling is what the promise hangs on. A build with a tag of
// these breaks it, for the test that the checker of package storm sees it.
const (
	ackBeforeRecord = false
	copyAfterAck    = false
	// endBeforeAck keeps hands from ever acking, so that they are killed there.
	endBeforeAck = false
)

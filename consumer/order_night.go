//go:build night_off && !broken_ack_first && !broken_copy_last

package consumer

const (
	ackBeforeRecord = false
	copyAfterAck    = false
	endBeforeAck    = true
)

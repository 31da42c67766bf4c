//go:build broken_copy_last && !broken_ack_first

package consumer

const (
	ackBeforeRecord = false
	copyAfterAck    = true
	endBeforeAck    = false
)

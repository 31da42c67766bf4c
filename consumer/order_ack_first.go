//go:build broken_ack_first

package consumer

const (
	ackBeforeRecord = true
	copyAfterAck    = false
	endBeforeAck    = false
)

package stream

import "github.com/nats-io/nats.go/jetstream"

// Floor is the sequence up to which a consumer is done: its ack floor, or with
// nothing pending the last it delivered. A message that is still there is
// stranded. (What waits after a nak counts as pending. Counting messages gave
// false alarms.)
func Floor(info *jetstream.ConsumerInfo) uint64 {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return info.Delivered.Stream
	}
	return info.AckFloor.Stream
}

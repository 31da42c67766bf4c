package stream

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestFloor(t *testing.T) {
	t.Parallel()
	info := func(floor, last, pending uint64, unacked, again int) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{
			AckFloor: jetstream.SequenceInfo{Stream: floor}, Delivered: jetstream.SequenceInfo{Stream: last},
			NumPending: pending, NumAckPending: unacked, NumRedelivered: again,
		}
	}
	for _, c := range []struct {
		info *jetstream.ConsumerInfo
		want uint64
	}{
		{info(3, 9, 0, 0, 0), 9},
		{info(3, 9, 1, 0, 0), 3},
		{info(3, 9, 0, 1, 0), 3},
		{info(3, 9, 0, 0, 1), 9},
	} {
		if got := Floor(c.info); got != c.want {
			t.Errorf("%+v: %d, want %d", c.info, got, c.want)
		}
	}
}

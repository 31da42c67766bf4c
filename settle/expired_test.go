package settle

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

// flipping is a lease that expires after it was asked so often.
type flipping struct {
	Handle

	left int
}

func (f *flipping) Expired() bool { f.left--; return f.left < 0 }

// there is a stream that has every message.
type there struct {
	Store

	asked int
}

func (s *there) Next(_ context.Context, _, subject string, seq uint64, _ time.Time) (*jetstream.RawStreamMsg, error) {
	s.asked++
	return &jetstream.RawStreamMsg{Subject: subject, Sequence: seq}, nil
}

// TestExpiresBeforeTheWrite: a lease that expires after it was looked at does not let a record
// be written unasked: the message is sought in its stream first.
func TestExpiresBeforeTheWrite(t *testing.T) {
	t.Parallel()
	s := &there{}
	w, d := &writer{&Parts{Store: s}}, &Delivery{Sequence: 7, Handle: &flipping{left: 1}}
	tries := 0
	err := w.try(t.Context(), d, func(context.Context) error {
		tries++
		if permit := d.permitRecord(); permit != nil && !permit() {
			return stream.ErrLate
		}
		return nil
	})
	if err != nil || tries != 2 || s.asked != 1 {
		t.Errorf("%d tries, asked %d times, %v", tries, s.asked, err)
	}
}

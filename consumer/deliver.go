package consumer

import (
	"errors"
	"runtime/debug"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
)

// delivery is what the broker says of a message. It notes how many are behind it.
func (f *fetcher) delivery(l *lease) *settle.Delivery {
	d := &settle.Delivery{Lane: f.Lane, Stream: f.Stream, Subject: l.msg.Subject, Header: headersOf(l.msg), Body: l.msg.Data, Handle: l}
	if meta, err := l.msg.Metadata(); err == nil { // what the broker delivers has it
		d.Sequence, d.Stored, d.Times = meta.Sequence.Stream, meta.Timestamp, int(meta.NumDelivered)
		f.pending = int(meta.NumPending)
	}
	return d
}

// headersOf are a message's. The client skips those that it cannot read, but
// counts their size.
func headersOf(m *nats.Msg) nats.Header {
	if m.Header == nil && m.Size() > len(m.Subject)+len(m.Reply)+len(m.Data) {
		return nats.Header{schema.HeaderUnreadable: {nats.ErrBadHeaderMsg.Error()}}
	}
	return m.Header
}

// settle settles a delivery in the slot that is held for it. It is requeued if it
// cannot begin in time.
func (f *fetcher) settle(live settle.Span, l *lease) {
	d, until := l.delivery, l.mayWait(live)
	defer f.slots.Release(f.Lane, 1)
	defer l.release()
	f.metrics.inFlight.Inc()
	defer f.metrics.inFlight.Dec()
	switch wait := f.Gate.quietFor(); {
	case until.Err() != nil || wait > 0 && !stream.Pause(until, wait):
		_ = l.Requeue(0)
	case !f.Gate.Relay.Up() && !d.DeliveredOften():
		_ = f.Settler.Requeue(d)
	default:
		f.settleSafely(live, d)
	}
}

// settleSafely keeps a message that makes our code panic from ending its
// neighbours: it is delivered again, and in the end dead-lettered undecoded. What the
// sweep found is not delivered again, but found again.
func (c *Consumer) settleSafely(live settle.Span, d *settle.Delivery) {
	defer func() {
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			c.Log.Error("settling a message panicked: it is tried again, and in the end dead-lettered undecoded", "lane", d.Lane, "stream_seq", d.Sequence, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := c.Settler.Settle(live, d); err != nil && !errors.Is(err, settle.ErrLeft) {
		c.metrics.failed.Inc()
		c.Log.Warn("message left in its stream: it is delivered again", "id", d.Key().ID, "lane", d.Lane, "stream_seq", d.Sequence, "error", err)
	}
}

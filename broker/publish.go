package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// headroom is the part of max_payload that a lane keeps for the headers of a
	// copy of the message.
	headroom = 64 << 10
	// publishPause is waited between tries. Without a leader "no responders"
	// comes at once.
	publishPause = 250 * time.Millisecond
	// electionTime is how long a lane may be without a leader. After that it is
	// taken not to exist.
	electionTime = 10 * time.Second
)

// Ack says that a message is stored, and where.
type Ack = stream.Ack

// Publish publishes a message to a lane and waits until it is stored. id becomes
// the Nats-Msg-Id, by which the broker drops a second message within ten minutes;
// it may be empty. The header is not changed.
//
// A publish without an answer is tried again under the same id until ctx ends;
// with an empty id the message may be stored twice. It fails with
// [stream.ErrFull] or [stream.ErrTooLarge] or, if ctx ends first,
// [stream.ErrAway]. If no stream took the subject until then, or for ten seconds,
// the error is [ErrNoLane] too.
func (c *Conn) Publish(ctx context.Context, lane wire.Lane, id string, header nats.Header, body []byte) (Ack, error) {
	m := &nats.Msg{Subject: lane.SendSubject(), Header: nats.Header{}, Data: body}
	maps.Copy(m.Header, header)
	if id != "" {
		m.Header.Set(nats.MsgIdHdr, id)
	}
	giveUp := time.Now().Add(electionTime)
	for nobody := false; ; {
		ack, err := c.store.Publish(ctx, m)
		switch {
		case err == nil:
			return ack, nil
		case errors.Is(err, stream.ErrTooLarge):
			return Ack{}, fmt.Errorf("publish to lane %s: %w: it has %d bytes with its headers, the lane takes %d, and %d of headers",
				lane, err, m.Size()-len(m.Subject), c.nc.MaxPayload()-headroom, headroom)
		case !errors.Is(err, stream.ErrAway):
			return Ack{}, fmt.Errorf("publish to lane %s: %w", lane, err)
		}
		// A try that ctx cut short says nothing new: keep what the last one said.
		nobody = errors.Is(err, nats.ErrNoResponders) || nobody && ctx.Err() != nil
		if nobody && time.Now().After(giveUp) || !stream.Pause(ctx, publishPause) {
			if nobody {
				err = fmt.Errorf("%w: no stream takes %s; check the name against POSTRIDER_LANES of the workers, and that one has been started: %w", ErrNoLane, m.Subject, err)
			}
			return Ack{}, fmt.Errorf("publish to lane %s: %w", lane, err)
		}
	}
}

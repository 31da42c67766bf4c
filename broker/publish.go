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
	// headroom is what a lane keeps of max_payload for the headers that a copy
	// of the message will carry.
	headroom = 64 << 10
	// publishPause is waited between tries. Where nobody answers "no
	// responders" comes at once, during an election too.
	publishPause = 250 * time.Millisecond
	// electionTime is how long a lane may be without a leader. A lane without
	// one for longer is not there.
	electionTime = 10 * time.Second
)

// Ack says that a message is stored, and where.
type Ack = stream.Ack

// Publish gives a message to a lane and waits until it is stored. id becomes
// Nats-Msg-Id, by which the broker drops a second message within ten minutes;
// it may be empty. The header is not changed.
//
// Unanswered publishes are tried again under the same id until ctx ends; with
// an empty id that may store the message twice. It fails with [stream.ErrFull],
// [stream.ErrTooLarge] or, where ctx ended first, [stream.ErrAway]. Where nobody took the
// subject up to the end, or for ten seconds, that error is [ErrNoLane] too.
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
		// A last try that ctx cut short says no more than the one before it.
		nobody = errors.Is(err, nats.ErrNoResponders) || nobody && ctx.Err() != nil
		if nobody && time.Now().After(giveUp) || !pause(ctx, publishPause) {
			if nobody {
				err = fmt.Errorf("%w: no stream takes %s; check the name against LANES of the workers, and that one has been started: %w", ErrNoLane, m.Subject, err)
			}
			return Ack{}, fmt.Errorf("publish to lane %s: %w", lane, err)
		}
	}
}

// pause waits; false where ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/schema"
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

// Ack is the broker's word that a message is stored.
type Ack struct {
	// Stream and Sequence say where.
	Stream   string `json:"stream"`
	Sequence uint64 `json:"seq"`
	// Duplicate: the broker had a message of that id already, and kept that one.
	Duplicate bool `json:"duplicate"`
}

// Publish gives a message to a lane and waits until it is stored. id becomes
// Nats-Msg-Id, by which the broker drops a second message within ten minutes;
// it may be empty. The header is not changed.
//
// Unanswered publishes are tried again under the same id until ctx ends; with
// an empty id that may store the message twice. It fails with [ErrFull],
// [ErrTooLarge] or, where ctx ended first, [ErrAway]. Where nobody took the
// subject up to the end, or for ten seconds, that error is [ErrNoLane] too.
func (c *Conn) Publish(ctx context.Context, lane wire.Lane, id string, header nats.Header, body []byte) (Ack, error) {
	m := &nats.Msg{Subject: lane.SendSubject(), Header: nats.Header{}, Data: body}
	maps.Copy(m.Header, header)
	if id != "" {
		m.Header.Set(schema.HeaderMsgID, id)
	}
	giveUp := time.Now().Add(electionTime)
	for nobody := false; ; {
		ack, err := c.store(ctx, m)
		switch {
		case err == nil:
			return ack, nil
		case errors.Is(err, ErrTooLarge):
			return Ack{}, fmt.Errorf("publish to lane %s: %w: it has %d bytes with its headers, the lane takes %d, and %d of headers",
				lane, err, m.Size()-len(m.Subject), c.nc.MaxPayload()-headroom, headroom)
		case !errors.Is(err, ErrAway):
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

// store publishes once and waits for the PubAck.
func (c *Conn) store(ctx context.Context, m *nats.Msg) (Ack, error) {
	b, err := c.ask(ctx, m)
	if err != nil {
		return Ack{}, err
	}
	var r struct {
		Ack
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(b, &r); err != nil || r.Error == nil && r.Stream == "" {
		// Something else than a stream listens on the subject.
		return Ack{}, fmt.Errorf("publish to %s: the answer is not an acknowledgement of JetStream", m.Subject)
	}
	if r.Error != nil {
		return Ack{}, r.Error
	}
	return r.Ack, nil
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

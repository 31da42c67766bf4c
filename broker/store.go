package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Store reads our streams from their leaders and writes them by
// compare-and-set. Its errors are those of package schema.
type Store struct {
	*Conn
	*Putter
}

// Store is what consumers, the journal and the dead letters work on.
func (c *Conn) Store() Store { return Store{Conn: c, Putter: c.Putter(nil)} }

// Next reads the first message of a stream, from that sequence on or, where it
// is 0, from that time on, whose subject matches; [ErrNotFound], [ErrAway].
func (c *Conn) Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error) {
	q := struct {
		Seq     uint64     `json:"seq,omitempty"`
		Subject string     `json:"next_by_subj"`
		Since   *time.Time `json:"start_time,omitempty"`
	}{Seq: seq, Subject: subject}
	if seq == 0 && !since.IsZero() {
		q.Since = &since
	}
	ask, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("read next message on %s: %w", subject, err)
	}
	b, err := c.api(ctx, "STREAM.MSG.GET."+stream, ask)
	if err != nil {
		return nil, fmt.Errorf("read next message on %s: %w", subject, err)
	}
	return decodeStored(b)
}

// Set publishes m, once, where the last message on filter has the expected
// sequence, 0 for none; schema.ErrConflict, [ErrFull], [ErrTooLarge], [ErrAway].
func (c *Conn) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	ack, err := c.store(ctx, expecting(m, filter, expected))
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", m.Subject, err)
	}
	return ack.Sequence, nil
}

// Delete deletes a message by its sequence. One that is gone is no error.
func (c *Conn) Delete(ctx context.Context, stream string, seq uint64) error {
	// Not erased: overwriting what is only to be forgotten costs a second write.
	_, err := c.api(ctx, "STREAM.MSG.DELETE."+stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq))
	if _, refused := errors.AsType[*apiError](err); refused {
		// The refusal does not say whether there was anything to delete. A
		// field it does not know would be refused too.
		get := fmt.Appendf(nil, `{"seq":%d}`, seq)
		if _, gone := c.api(ctx, "STREAM.MSG.GET."+stream, get); errors.Is(gone, ErrNotFound) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("delete message %d of %s: %w", seq, stream, err)
	}
	return nil
}

package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/schema"
)

// answerTimeout is how long one request may wait. Elections take up to 8.7 s;
// what must outlast one asks again.
const answerTimeout = 5 * time.Second

// Last reads the last message of a stream on a subject, which may have
// wildcards, from the stream's leader: a replica may be behind. It fails with
// [ErrNotFound] or [ErrAway].
func (c *Conn) Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	ask, err := json.Marshal(struct {
		Subject string `json:"last_by_subj"`
	}{subject})
	if err != nil {
		return nil, fmt.Errorf("read last message on %s: %w", subject, err)
	}
	b, err := c.api(ctx, "STREAM.MSG.GET."+stream, ask)
	if err != nil {
		return nil, fmt.Errorf("read last message on %s: %w", subject, err)
	}
	m, err := decodeStored(b)
	if err != nil {
		return nil, fmt.Errorf("read last message on %s: %w", subject, err)
	}
	return m, nil
}

func decodeStored(b []byte) (*jetstream.RawStreamMsg, error) {
	var r struct {
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	m := &jetstream.RawStreamMsg{
		Subject: r.Message.Subject, Sequence: r.Message.Sequence, Data: r.Message.Data, Time: r.Message.Time,
	}
	if len(r.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Header)
		if err != nil {
			// Who reads on has to get past it.
			h = nats.Header{schema.HeaderUnreadable: {err.Error()}}
		}
		m.Header = h
	}
	return m, nil
}

// api asks JetStream and gives its answer, or its refusal as an error.
func (c *Conn) api(ctx context.Context, method string, body []byte) ([]byte, error) {
	r, err := c.ask(ctx, &nats.Msg{Subject: "$JS.API." + method, Data: body})
	if err != nil {
		return nil, err
	}
	var refusal struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(r, &refusal); err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	if refusal.Error != nil {
		return nil, refusal.Error
	}
	return r, nil
}

// ask sends one request, once. While disconnected it does not send at all:
// what lies in the client's buffer would go out when nobody waits for it.
func (c *Conn) ask(ctx context.Context, m *nats.Msg) ([]byte, error) {
	if !c.nc.IsConnected() {
		return nil, lost(nats.ErrDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := c.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return nil, lost(err)
	}
	return r.Data, nil
}

package stream_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestLast(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: "3"}
	if _, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamRecord, key.RecordSubject()); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("Last of nothing = %v, want ErrNotFound", err)
	}
	if _, err := b.Conn.Store().Last(natstest.Within(t), "NOTHING", "x"); err == nil || errors.Is(err, stream.ErrNotFound) {
		t.Errorf("Last of a stream that is not there = %v", err)
	}
	body := bytes.Repeat([]byte{0, 0xff, '\n'}, 1<<20)
	for _, m := range []*nats.Msg{
		{Subject: key.RecordSubject(), Data: []byte("first")},
		{Subject: key.RecordSubject(), Header: nats.Header{wire.HeaderGeneration: {"2"}, "Mail-To": {"a@b", "c@d"}}, Data: body},
	} {
		if _, err := b.Conn.JS().PublishMsg(natstest.Within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{key.RecordSubject(), key.RecordFilter()} {
		m, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamRecord, subject)
		if err != nil {
			t.Fatal(err)
		}
		if m.Sequence != 2 || m.Subject != key.RecordSubject() || !bytes.Equal(m.Data, body) || m.Header.Get(wire.HeaderGeneration) != "2" ||
			len(m.Header.Values("Mail-To")) != 2 || time.Since(m.Time).Abs() > time.Minute {
			t.Errorf("Last(%s) = %d on %s at %v with %v", subject, m.Sequence, m.Subject, m.Time, m.Header)
		}
	}
}

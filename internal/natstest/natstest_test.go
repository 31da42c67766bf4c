package natstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

func TestRestartAndKill(t *testing.T) {
	t.Parallel()
	const lane = wire.Lane("normal")
	b := natstest.StartWith(t, natstest.Options{AckWait: time.Second})
	q, err := b.Conn.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		t.Fatal(err)
	}
	if got := q.CachedInfo().Config.AckWait; got != time.Second {
		t.Errorf("AckWait = %v", got)
	}
	epoch, url := b.Conn.Epoch(), b.Config.URL
	for name, again := range map[string]func(testing.TB){"restart": b.Restart, "kill": b.Kill} {
		if _, err := b.Conn.JS().Publish(t.Context(), lane.SendSubject(), []byte(name)); err != nil {
			t.Fatal(err)
		}
		again(t)
		if b.Embedded.URL() != url {
			t.Errorf("after a %s the URL is %s, was %s", name, b.Embedded.URL(), url)
		}
		if e := b.Conn.Epoch(); e <= epoch {
			t.Errorf("a %s left Epoch at %d", name, e)
		} else {
			epoch = e
		}
		m, err := q.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("after a %s: %v", name, err)
		}
		if string(m.Data()) != name {
			t.Errorf("after a %s: %q", name, m.Data())
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Errorf("after a %s: %v", name, err)
		}
	}
}

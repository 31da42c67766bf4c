package embedded_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
)

// counts is the number of messages each stream ever took: what was planted,
// overwritten or removed again is seen too.
func counts(t *testing.T, c *broker.Conn) map[string]string {
	t.Helper()
	n := map[string]string{}
	all := c.JS().ListStreams(natstest.Within(t))
	for s := range all.Info() {
		n[s.Config.Name] = fmt.Sprint(s.State.LastSeq, s.State.Msgs, s.State.NumSubjects)
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestProducerPublishes(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	js, err := jetstream.New(b.Producer(t))
	if err != nil {
		t.Fatal(err)
	}
	first, err := js.Publish(natstest.Within(t), bulk.SendSubject(), []byte("x"), jetstream.WithMsgID("a"))
	if err != nil || first.Stream != bulk.SendStream() || first.Sequence != 1 || first.Duplicate {
		t.Fatalf("Publish = %+v, %v", first, err)
	}
	again, err := js.Publish(natstest.Within(t), bulk.SendSubject(), []byte("x"), jetstream.WithMsgID("a"))
	if err != nil || !again.Duplicate || again.Sequence != 1 {
		t.Errorf("the same id again = %+v, %v; want a duplicate of 1", again, err)
	}
	const n = 100
	var acks []jetstream.PubAckFuture
	for i := range n {
		f, err := js.PublishAsync(normal.SendSubject(), []byte("x"), jetstream.WithMsgID(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, f)
	}
	for i, f := range acks {
		select {
		case a := <-f.Ok():
			if a.Sequence != uint64(i+1) {
				t.Errorf("async publish %d has sequence %d", i, a.Sequence)
			}
		case err := <-f.Err():
			t.Errorf("async publish %d: %v", i, err)
		case <-natstest.Within(t).Done():
			t.Fatalf("async publish %d got no answer", i)
		}
	}
}

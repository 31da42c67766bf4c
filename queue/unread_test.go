package queue_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// TestUnread: a message that the store cannot read any more is not forgotten.
func TestUnread(t *testing.T) {
	t.Parallel()
	const lane = wire.Lane("normal")
	b := natstest.Start(t, lane)
	for range 20 {
		if _, err := b.Conn.JS().Publish(t.Context(), lane.SendSubject(), make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Shutdown(t, b.Embedded)
	f, err := os.OpenFile(filepath.Join(b.Config.DataDir, "jetstream", "MAIL", "streams", lane.SendStream(), "msgs", "1.blk"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("abc"), 55_000); err != nil {
		t.Fatal(err)
	}
	_, c := natstest.StartEmbedded(t, b.Config, lane)
	q := queue.New(c.JS(), c.Store(), c.Now, c.Room)
	unread := func() uint64 {
		t.Helper()
		s, err := q.Status(natstest.Within(t))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range s.Judge() {
			if f.Check == "unread" && f.Wrong() {
				n++
			}
		}
		if (n == 1) != (s.Lanes[0].Unread > 0) {
			t.Errorf("%d findings of %+v", n, s.Lanes[0])
		}
		return s.Lanes[0].Unread
	}
	if n := unread(); n != 0 {
		t.Errorf("%d before anybody has tried to read", n)
	}
	from, err := c.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := from.Next(jetstream.FetchMaxWait(time.Second))
		if err != nil {
			break
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := unread(); n != 1 {
		t.Errorf("unread = %d, want 1", n)
	}
}

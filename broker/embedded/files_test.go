package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

// watched is a broker that watches its store, and a producer.
type watched struct {
	*embedded.Server
	t        *testing.T
	conn     *broker.Conn
	producer jetstream.JetStream
	log      embedded.Logged
	dir      string
	ended    chan error
}

func watchStore(t *testing.T) *watched {
	t.Helper()
	cfg := natstest.EmbeddedConfig(t)
	lanes := []wire.Lane{normal}
	w := &watched{t: t, dir: cfg.DataDir, ended: make(chan error, 1)}
	var err error
	if w.Server, err = embedded.Start(natstest.Within(t), cfg, lanes, w.log.Logger()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), natstest.Timeout)
		defer cancel()
		_ = w.Shutdown(ctx) // its files may be gone
	})
	if w.conn, err = w.Connect(natstest.Within(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.conn.Close)
	if _, err := broker.Provision(natstest.Within(t), w.conn, lanes, cfg); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(w.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if w.producer, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { w.ended <- w.Watch(ctx) }()
	return w
}

func (w *watched) publish() error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
	defer cancel()
	_, err := w.producer.Publish(ctx, normal.SendSubject(), []byte("x"))
	return err
}

// looks waits until the watch has looked at the files, from now on, and found nothing.
func (w *watched) looks() {
	w.t.Helper()
	for range 2 { // the first may have begun before
		testrun.Eventually(w.t, "the store was looked at", natstest.Timeout, func() bool {
			fault, looked := w.Looked()
			if fault != nil {
				w.t.Fatal(fault)
			}
			return looked
		})
	}
}

// TestStoreRemoved: a broker whose files are removed acknowledges no more mail, hands
// out what it has, and ends when that is settled.
func TestStoreRemoved(t *testing.T) {
	t.Parallel()
	streams := filepath.Join("jetstream", "MAIL", "streams")
	lane := filepath.Join(streams, normal.SendStream())
	for name, removed := range map[string]string{
		"a stream": lane, "the messages": filepath.Join(lane, "msgs"), "a block": filepath.Join(lane, "msgs", "1.blk"),
		"the settings": filepath.Join(lane, "meta.inf"), "everything": "", "the lock": "lock",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watchStore(t)
			if err := w.publish(); err != nil {
				t.Fatal(err)
			}
			w.looks()
			// The broker may write there meanwhile.
			testrun.Eventually(t, "the files are gone", 10*time.Second, func() bool { return os.RemoveAll(filepath.Join(w.dir, removed)) == nil })
			testrun.Eventually(t, "producers are refused", 10*time.Second, func() bool {
				err := w.publish()
				return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
			}, w.log.String)
			if !errors.Is(w.Fault(), embedded.ErrLost) {
				t.Errorf("Fault = %v", w.Fault())
			}
			w.empty()
			select {
			case err := <-w.ended:
				if !errors.Is(err, embedded.ErrLost) {
					t.Errorf("Watch = %v", err)
				}
			case <-time.After(natstest.Timeout):
				t.Error("it does not end when the queue is empty")
			}
			if said := w.log.String(); strings.Count(said, "only in this process") < 1 || strings.Count(said, "Do not stop it") != 1 {
				t.Errorf("it says %s", said)
			}
		})
	}
}

// empty settles all mail.
func (w *watched) empty() {
	w.t.Helper()
	select {
	case err := <-w.ended:
		w.t.Fatalf("it ends with mail in its memory: %v", err)
	default:
	}
	c, err := w.conn.Consumer(natstest.Within(w.t), normal.SendStream(), normal.Sources()[0].Consumer)
	if err != nil {
		w.t.Fatal(err)
	}
	for n := 0; ; n++ {
		m, err := c.Next(jetstream.FetchMaxWait(time.Second))
		if err != nil {
			if n == 0 {
				w.t.Errorf("nothing is delivered of what was acknowledged: %v", err)
			}
			return
		}
		if err := m.DoubleAck(natstest.Within(w.t)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestBlocksGoByThemselves: blocks that the server removes, because their messages
// are settled or purged, are not missed.
func TestBlocksGoByThemselves(t *testing.T) {
	t.Parallel()
	w := watchStore(t)
	big := make([]byte, 1<<20)
	dir := filepath.Join(w.dir, "jetstream", "MAIL", "streams", normal.SendStream(), "msgs")
	blocks := func() int {
		names, _ := filepath.Glob(filepath.Join(dir, "*.blk"))
		return len(names)
	}
	for i := 0; blocks() < 4; i++ {
		if _, err := w.conn.JS().Publish(natstest.Within(t), normal.SendSubject(), big); err != nil {
			t.Fatal(err)
		}
	}
	w.looks()
	s, err := w.conn.JS().Stream(natstest.Within(t), normal.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(natstest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	// All but the first and the last: the blocks between are removed.
	for seq := info.State.FirstSeq + 1; seq < info.State.LastSeq; seq++ {
		if err := s.DeleteMsg(natstest.Within(t), seq); err != nil {
			t.Fatal(err)
		}
	}
	if blocks() > 2 {
		t.Fatalf("%d blocks are left", blocks())
	}
	w.looks()
	if err := s.Purge(natstest.Within(t)); err != nil {
		t.Fatal(err)
	}
	w.looks()
	if err := w.publish(); err != nil {
		t.Error(err)
	}
}

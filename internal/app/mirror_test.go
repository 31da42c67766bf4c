package app

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

// TestMirrorOfRecords: a stream that mirrors the records would answer lookups, and say that
// a record is not there. A worker that finds one asks the records themselves.
func TestMirrorOfRecords(t *testing.T) {
	t.Parallel()
	s := settingsFor(t)
	for _, mirrored := range []bool{false, true} {
		var out output
		w := New(s, &out, &out)
		ended := make(chan error, 1)
		go func() { ended <- w.Run(t.Context()) }()
		testrun.Eventually(t, "it starts", 20*time.Second, func() bool { return strings.Contains(out.String(), "Publish a mail") }, out.String)
		if said := strings.Contains(out.String(), wire.StreamRecord+" has a mirror"); said != mirrored {
			t.Errorf("it says that there is a mirror: %v, want %v\n%s", said, mirrored, out.String())
		}
		cfg := s.Broker
		cfg.Role = broker.Worker
		conn, err := broker.Dial(natstest.Within(t), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if !mirrored {
			if _, err := conn.JS().CreateStream(natstest.Within(t), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: wire.StreamRecord}}); err != nil {
				t.Fatal(err)
			}
		}
		names, err := conn.MirrorsOf(natstest.Within(t), wire.StreamRecord)
		if err != nil || len(names) != 1 || names[0] != "COPY" {
			t.Errorf("%v, %v", names, err)
		}
		conn.Close()
		w.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

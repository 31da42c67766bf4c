package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/wire"
)

// logged writes a record into the log.
func logged(t *testing.T, b *natstest.Broker, id string) {
	t.Helper()
	now := b.Conn.Now()
	r := &wire.Record{
		V: 1, ID: id, Origin: wire.Origin(now, 7), Lane: "normal", Recipient: wire.All, Event: wire.EventDelivered, At: now,
		Recipients: []wire.RecipientRecord{{Address: "ann@example.net", State: wire.StateDelivered, QueueID: "Q" + id}},
	}
	if _, err := journal.New(b.Conn.Store()).Set(t.Context(), r.Key(), r, 0, false); err != nil {
		t.Fatal(err)
	}
}

// TestFollowBeginsNow: like journalctl and kubectl logs; what is there already comes
// first only if it is asked for.
func TestFollowBeginsNow(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	env := []string{"NATS_URL=" + b.Config.URL, "POSTRIDER_DATA_DIR=" + b.Config.DataDir}
	logged(t, b, "old")
	logged(t, b, "older")
	testrun.Eventually(t, "the log has both", natstest.Timeout, func() bool {
		_, stdout, _ := postrider(t, env, "events")
		return strings.Count(stdout, "\n") == 2
	})
	if _, stdout, _ := postrider(t, env, "events", "--tail", "1"); strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, " older ") {
		t.Errorf("--tail 1: %s", stdout)
	}
	if _, stdout, _ := postrider(t, env, "events", "old"); strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, " old ") {
		t.Errorf("of one message: %s", stdout)
	}
	for _, c := range []struct{ args, want string }{
		{"events --follow --tail 1", " older "}, {"events --follow --since 1h", " old "}, {"events --follow --since 1h --tail 1", " older "},
		{"events --follow", " new"}, {"events --follow --tail 0", " new"}, {"events --follow --since 1h --tail 0", " new"},
	} {
		ctx, stop := context.WithCancel(natstest.Within(t))
		reader, writer := io.Pipe()
		ended, writing := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			run(ctx, strings.Fields(c.args), env, nil, writer, io.Discard)
			_ = writer.Close()
		}()
		go func() { // until one is seen: nothing says when the reading begins
			defer close(writing)
			for i := 0; c.want == " new" && ctx.Err() == nil; i++ {
				logged(t, b, fmt.Sprint("new", i))
			}
		}()
		lines := bufio.NewScanner(reader)
		if !lines.Scan() || !strings.Contains(lines.Text(), c.want) {
			t.Errorf("%s begins with %q, want %s", c.args, lines.Text(), c.want)
		}
		stop()
		<-writing
		_ = reader.Close()
		<-ended
	}
}

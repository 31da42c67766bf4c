package consumer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestLease(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name   string
		change func(l *lease)
		want   bool
	}{
		{"fresh", func(*lease) {}, false},
		{"renewed 29 minutes ago", func(l *lease) { l.renewed = now.Add(-29 * time.Minute) }, false},
		{"renewed 31 minutes ago", func(l *lease) { l.renewed = now.Add(-31 * time.Minute) }, true},
		{"the wall clock went further", func(l *lease) { l.renewed = now.Round(0).Add(-31 * time.Minute) }, true},
		{"disconnected meanwhile", func(l *lease) { l.epoch-- }, true},
		{"the process stood still", func(l *lease) { l.set.pulse = now.Add(-16 * time.Minute) }, true},
		{"it stood still a second before the message was read", func(l *lease) { l.set.resumed = now.Add(-time.Second) }, true},
		{"it stood still long before", func(l *lease) { l.set.resumed = now.Add(-2 * time.Second) }, false},
	} {
		l := &lease{set: newLeases(nil, linkStub{}, Config{AckWait: time.Hour}, func(int) {}), msg: &nats.Msg{Reply: "ack"}, renewed: now}
		c.change(l)
		if got := l.Expired(); got != c.want {
			t.Errorf("%s: expired %v, want %v", c.name, got, c.want)
		}
		// Another worker may have it: nothing is written, which fails without a connection.
		if err := l.Requeue(0); (err == nil) != c.want {
			t.Errorf("%s: requeue: %v", c.name, err)
		}
	}
}

// TestConsumerWithoutALeader: a worker waits for a consumer that does not
// answer, and says each minute what for.
func TestConsumerWithoutALeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, said := time.Now(), &bytes.Buffer{}
		w := New(Config{Lanes: wire.Lanes{{Lane: "a", Weight: 1}}}, Parts{
			Log: slog.New(slog.NewTextHandler(said, nil)), Metrics: prometheus.NewRegistry(),
			Durable: func(context.Context, string, string) (jetstream.Consumer, error) {
				if time.Since(began) < 150*time.Second {
					return nil, fmt.Errorf("%w: no leader", stream.ErrAway)
				}
				return nil, nil //nolint:nilnil // one that nobody asks for anything
			},
		})
		f := &fetcher{Consumer: w, Source: wire.Lane("a").Sources()[0]}
		if err := f.find(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "MAIL_SEND_A"); n != 3 {
			t.Errorf("said %d times in 150 s, want 3:\n%s", n, said)
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := f.find(ctx); err == nil {
			t.Error("no error when told to stop")
		}
	})
}

func TestGateSettlesDownAfterAReconnect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ago  time.Duration
		open bool
	}{{0, false}, {settleDown - 200*time.Millisecond, false}, {settleDown + time.Millisecond, true}} {
		g := &Gate{Link: linkStub{time.Now().Add(-c.ago)}}
		if got := g.quietFor() <= 0; got != c.open {
			t.Errorf("%s after a reconnect: open %v, want %v", c.ago, got, c.open)
		}
	}
}

type linkStub struct{ last time.Time }

func (linkStub) Epoch() int64               { return 0 }
func (l linkStub) LastReconnect() time.Time { return l.last }

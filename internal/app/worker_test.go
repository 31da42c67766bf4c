package app

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// output can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }

func (o *output) String() string { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

func settingsFor(t *testing.T, more ...string) *Settings {
	t.Helper()
	s, errs := ReadSettings(append([]string{
		"NATS_LISTEN=" + freeport.Addr(), "POSTRIDER_ADMIN=127.0.0.1:0", "POSTRIDER_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "POSTRIDER_DRAIN=10s",
	}, more...))
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	return s
}

// TestRun: a worker within this process delivers with the parts it is given, and
// ends when it is told to stop.
func TestRun(t *testing.T) {
	t.Parallel()
	s := settingsFor(t)
	settled := make(chan *wire.Record, 1)
	var out output
	w := New(s, &out, &out, Decorate(func(p settle.Parts) settle.Parts {
		report := p.Settled
		p.Settled = func(rec *wire.Record, d *settle.Delivery) {
			report(rec, d)
			settled <- rec
		}
		return p
	}))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	testrun.Eventually(t, "it starts", 20*time.Second, func() bool { return strings.Contains(out.String(), "Publish a mail") }, out.String)
	nc, err := nats.Connect("nats://" + s.Broker.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("mail.send.normal", []byte(`{"id":"m","from":"a@example.com","to":["b@example.net"],"text":"hi"}`), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case rec := <-settled:
		if rec.ID != "m" || rec.Event != wire.EventDelivered {
			t.Errorf("%+v", rec)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("not settled: %s", out.String())
	}
	w.Stop()
	select {
	case err := <-ended:
		if err != nil || !strings.HasSuffix(out.String(), "Stopped.\n") && !strings.Contains(out.String(), "Stopped: 1 message settled") {
			t.Errorf("%v: %s", err, out.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("Run did not end: %s", out.String())
	}
}

// TestStopBeforeStart: a worker that waits for its broker stops at once, whether
// by its context or by Stop.
func TestStopBeforeStart(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*Worker, context.CancelFunc){
		"context": func(_ *Worker, cancel context.CancelFunc) { cancel() },
		"Stop":    func(w *Worker, _ context.CancelFunc) { w.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out output
			w := New(settingsFor(t, "NATS_URL=nats://"+freeport.Addr(), "SMTP_URL=smtp://127.0.0.1:9?tls=none"), &out, &out)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- w.Run(ctx) }()
			time.Sleep(50 * time.Millisecond)
			stop(w, cancel)
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("Run did not end")
			}
		})
	}
}

// TestSecondStop: after the end of the context, or a first Stop, one more Stop
// requeues at once.
func TestSecondStop(t *testing.T) {
	t.Parallel()
	s := newStops()
	if s.next(); s.first.Err() == nil || s.second.Err() != nil {
		t.Error("the first stop is not one, or counts twice")
	}
	if s.next(); s.second.Err() == nil {
		t.Error("the second stop does not hurry")
	}
}

// TestStoreRemoved: a worker whose store is removed is not ready, and ends as a thing
// that somebody has to repair: by itself if nothing is queued, else when it is told to
// stop.
func TestStoreRemoved(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"nothing queued": nil,
		"mail queued":    {"SMTP_URL=smtp://" + freeport.Addr() + "?tls=none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := settingsFor(t, settings...)
			var out output
			w := New(s, &out, &out)
			ended := make(chan error, 1)
			go func() { ended <- w.Run(t.Context()) }()
			testrun.Eventually(t, "it starts", 20*time.Second, func() bool { return strings.Contains(out.String(), "ublish") }, out.String)
			if settings != nil {
				publishOne(t, s)
			}
			lane := filepath.Join(s.Broker.DataDir, "jetstream", "MAIL", "streams", "MAIL_SEND_NORMAL")
			// The broker may write there meanwhile.
			testrun.Eventually(t, "the files are gone", 20*time.Second, func() bool { return os.RemoveAll(lane) == nil })
			testrun.Eventually(t, "it is not ready", 20*time.Second, func() bool { return w.admin.unready() != nil }, out.String)
			if settings != nil {
				w.Stop()
			}
			var failed *ConfigError
			select {
			case err := <-ended:
				if !errors.As(err, &failed) || !errors.Is(err, embedded.ErrLost) {
					t.Errorf("%v: %s", err, out.String())
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("Run did not end: %s", out.String())
			}
		})
	}
}

// publishOne publishes a mail.
func publishOne(t *testing.T, s *Settings) {
	t.Helper()
	nc, err := nats.Connect("nats://" + s.Broker.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("mail.send.normal", []byte(`{"id":"m","from":"a@example.com","to":["b@example.net"],"text":"hi"}`), 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

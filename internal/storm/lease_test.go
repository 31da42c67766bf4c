package storm

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

// TestSlowRelay: a relay slower than three times AckWait, and every mail is
// delivered exactly once.
func TestSlowRelay(t *testing.T) {
	testrun.Beside(t)
	s := begin(t, Config{
		Workers: 2, Env: []string{"POSTRIDER_ACK_WAIT=2s", "SMTP_MAX_SESSIONS=20"}, RelayArgs: []string{"-delay", "7s"},
	})
	p := s.producer(4)
	if err := p.Publish(t.Context(), slowMails, OneMail); err != nil {
		t.Fatal(err)
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
	if r.Delivered != slowMails {
		t.Errorf("%d delivered, want %d", r.Delivered, slowMails)
	}
}

// TestStops tells workers to stop under load, again and again. Nothing is late
// by AckWait, as it would be if a worker kept what it did not send, and
// nothing is sent twice, for the relay's replies all come within the drain.
func TestStops(t *testing.T) {
	testrun.Beside(t)
	const ackWait = 30 * time.Second
	s := begin(t, Config{
		Env: []string{"POSTRIDER_ACK_WAIT=30s", "POSTRIDER_DRAIN=10s", "SMTP_MAX_SESSIONS=40"}, RelayArgs: []string{"-delay", "100ms"},
	})
	p := s.producer(4)
	p.Every = 20 * time.Millisecond
	loading, enough := context.WithCancel(t.Context())
	defer enough()
	published := make(chan error, 1)
	go func() { published <- p.Publish(loading, 1<<20, OneMail) }()
	var slowest time.Duration
	for range stops {
		if err := s.startWorker(); err != nil {
			t.Fatal(err)
		}
		w := s.workers[0]
		s.workers = nil
		testrun.Eventually(t, "the worker sends", ready, func() bool { return metric(t, w, "postrider_settled_total") > 5 })
		told := time.Now()
		if err := w.End(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(told))
		if status := w.Cmd.ProcessState.ExitCode(); status != 0 {
			t.Errorf("a worker that was told to stop ended with %d", status)
		}
	}
	enough()
	<-published
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
	entries, err := ReadLines[Entry](filepath.Join(s.Dir, "book"))
	if err != nil {
		t.Fatal(err)
	}
	var late time.Duration
	for _, e := range entries {
		late = max(late, e.Waited())
	}
	t.Logf("stops=%d mails=%d slowest_stop=%s longest_wait=%s", stops, len(entries), slowest.Round(time.Millisecond), late.Round(time.Millisecond))
	if late >= ackWait/2 {
		t.Errorf("a mail was on its way for %s: it lay with a worker that had stopped", late)
	}
}

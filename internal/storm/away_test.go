package storm

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
)

// TestBrokerAway: the broker is killed and stays away. The workers go on
// living, weigh no more than before, and settle everything at its return.
func TestBrokerAway(t *testing.T) {
	testrun.Beside(t)
	s := begin(t, Config{Workers: 2})
	p := s.producer(4)
	p.Every = 20 * time.Millisecond
	publishing, enough := context.WithCancel(t.Context())
	defer enough()
	published := make(chan error, 1)
	go func() { published <- p.Publish(publishing, 1<<30, MixedMail) }()
	testrun.Eventually(t, "mail flows", ready, func() bool { return metric(t, s.workers[0], "postrider_settled_total") > 50 })
	before := weigh(t, s.workers[0])
	f := Fault{From: time.Now()}
	if err := s.broker.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.kills++
	stream.Pause(t.Context(), awayFor) // the broker is away
	for _, w := range s.workers {
		if w.ended() {
			t.Fatal("a worker ended because its broker was away")
		}
	}
	away := weigh(t, s.workers[0])
	t.Logf("before %v; after %s without a broker %v", before, awayFor, away)
	if away.mib > before.mib+32 || away.goroutines > before.goroutines+50 {
		t.Errorf("a worker without its broker grows: %v, then %v", before, away)
	}
	if err := s.startBroker(); err != nil {
		t.Fatal(err)
	}
	f.To = time.Now().Add(settle)
	s.faults = append(s.faults, f)
	stream.Pause(t.Context(), 2*time.Second)
	enough()
	<-published
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "dead though delivered", r.Both)
	none(t, "sent twice, which no fault explains", r.Unexplained)
}

// TestRelayGone: the relay is away for a fifth of the age at which mail dies, as
// a day is of five. None dies, and at its return no more sessions are opened
// than a worker may have.
func TestRelayGone(t *testing.T) {
	testrun.Beside(t)
	s := begin(t, Config{Workers: 1, Env: []string{"POSTRIDER_RETRY_AFTER=1s", "POSTRIDER_MAX_AGE=" + (5 * relayGoneFor).String()}})
	if err := s.relay.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p := s.producer(4)
	if err := p.Publish(t.Context(), goneMails, OneMail); err != nil {
		t.Fatal(err)
	}
	stream.Pause(t.Context(), relayGoneFor) // the relay is away
	weight := most([]burden{weigh(t, s.broker), weigh(t, s.workers[0])})
	if s.broker.ended() || s.workers[0].ended() || weight.mib > 200 {
		t.Errorf("a worker ended or grew because its relay was away: %v", weight)
	}
	if err := s.startRelay(); err != nil {
		t.Fatal(err)
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
	if r.Dead > 0 {
		t.Errorf("%d died before their age", r.Dead)
	}
	entries, err := ReadLines[struct {
		Session int `json:"session"`
	}](filepath.Join(s.Dir, "book"))
	if err != nil {
		t.Fatal(err)
	}
	sessions := map[int]bool{}
	for _, e := range entries {
		sessions[e.Session] = true
	}
	// Two workers of ten sessions, each for a hundred mails.
	bound := 20 + goneMails/100 + 20
	t.Logf("mails=%d sessions=%d weight %v", goneMails, len(sessions), weight)
	if len(sessions) > bound {
		t.Errorf("%d sessions for %d mails, want at most %d", len(sessions), goneMails, bound)
	}
}

// TestRelayHalfDead: every third session falls silent at MAIL. Nothing is lost
// or dead, and what went through a session that speaks went once.
func TestRelayHalfDead(t *testing.T) {
	testrun.Beside(t)
	s := begin(t, Config{
		Workers: 1, RelayArgs: []string{"-silent", "3"},
		Env: []string{"SMTP_TIMEOUT_COMMAND=1s", "SMTP_MESSAGES_PER_SESSION=5"},
	})
	p := s.producer(4)
	if err := p.Publish(t.Context(), halfDeadMails, OneMail); err != nil {
		t.Fatal(err)
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
	if r.Dead > 0 {
		t.Errorf("%d died of a relay that is half dead", r.Dead)
	}
	if n := metric(t, s.broker, "postrider_requeued_total") + metric(t, s.workers[0], "postrider_requeued_total"); n == 0 {
		t.Error("no session fell silent")
	} else {
		t.Logf("requeued=%.0f", n)
	}
	if r.Delivered != halfDeadMails {
		t.Errorf("%d delivered, want %d", r.Delivered, halfDeadMails)
	}
}

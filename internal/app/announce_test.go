package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// announced is a worker at a broker that outlives it, and what operators see.
type announced struct {
	t      *testing.T
	broker *natstest.Broker
	queue  *queue.Queue
	worker *Worker
	out    output
	ended  chan error
}

func startAnnounced(t *testing.T, more ...string) *announced {
	t.Helper()
	return startAnnouncedAt(t, natstest.Start(t), more...)
}

func startAnnouncedAt(t *testing.T, b *natstest.Broker, more ...string) *announced {
	t.Helper()
	a := &announced{t: t, broker: b, queue: queue.New(b.Conn.JS(), b.Conn.Store(), b.Conn.Now, b.Conn.Room), ended: make(chan error, 1)}
	a.run(append(more, "NATS_URL="+b.Config.URL, "POSTRIDER_DATA_DIR="+b.Config.DataDir, "POSTRIDER_LANES=normal")...)
	return a
}

// run runs a worker with those settings until the test ends.
func (a *announced) run(settings ...string) {
	a.t.Helper()
	a.worker = New(settingsFor(a.t, settings...), &a.out, &a.out)
	go func() {
		defer close(a.ended)
		a.ended <- a.worker.Run(context.WithoutCancel(a.t.Context()))
	}()
	a.t.Cleanup(a.stop)
}

// stop stops the worker and waits for its end.
func (a *announced) stop() {
	a.t.Helper()
	a.worker.Stop()
	select {
	case err := <-a.ended:
		if err != nil {
			a.t.Errorf("%v: %s", err, a.out.String())
		}
	case <-time.After(natstest.Timeout):
		a.t.Errorf("Run did not end: %s", a.out.String())
	}
}

func (a *announced) publish() {
	a.t.Helper()
	const body = `{"id":"m","from":"a@example.com","to":["b@example.net"],"text":"hi"}`
	if _, err := a.broker.Conn.JS().Publish(natstest.Within(a.t), "mail.send.normal", []byte(body)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *announced) status() *queue.Status {
	a.t.Helper()
	s, err := a.queue.Status(natstest.Within(a.t))
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

func (a *announced) eventually(what string, is func(*queue.Status) bool) {
	a.t.Helper()
	var s *queue.Status
	testrun.Eventually(a.t, what, natstest.Timeout, func() bool {
		s = a.status()
		return is(s)
	}, func() string { return wrong(s) + a.out.String() })
}

// wrong are the findings that somebody has to do something about, a line each.
func wrong(s *queue.Status) string {
	var b strings.Builder
	for _, f := range s.Judge() {
		if f.Wrong() {
			b.WriteString(string(f.Level) + " " + f.Check + " " + f.At + ": " + f.Found + " | " + f.Do + "\n")
		}
	}
	return b.String()
}

// states are those of the workers and their relays.
func states(s *queue.Status) string {
	var all []string
	for _, w := range s.Workers.All {
		all = append(all, string(w.State)+", relay "+string(w.Relay.State))
	}
	return strings.Join(all, "; ")
}

// TestAnnounce: what the relay said is in the status within a second, with the number of
// messages that wait; when it is back, nothing is wrong; when the worker has stopped,
// nothing is left of it.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	var open atomic.Bool
	relay := smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "CONNECT" && !open.Load() {
			return &smtptest.Answer{Reply: "421 4.3.2 closed for repairs"}
		}
		return nil
	}))
	a := startAnnounced(t, "SMTP_URL="+relay.URL(), "SMTP_PAUSE_MIN=5s", "SMTP_PAUSE_MAX=5s")
	a.publish()
	testrun.Eventually(t, "it notices", natstest.Timeout, func() bool { return strings.Contains(a.out.String(), "closed for repairs") })
	noticed := time.Now()
	a.eventually("it says so", func(s *queue.Status) bool { return states(s) == "waiting, relay down" })
	if d := time.Since(noticed); d > time.Second {
		t.Errorf("it took %s", d)
	}
	const words = ": 421 4.3.2 closed for repairs; down since "
	s := ""
	a.eventually("the next try is known", func(now *queue.Status) bool {
		s = wrong(now)
		return !strings.Contains(s, "it is being tried now")
	})
	for _, want := range []string{"problem relay 127.0.0.1:", words, "; 1 message waits, and no attempt is counted | next try in "} {
		if !strings.Contains(s, want) || strings.Count(s, "\n") != 1 {
			t.Errorf("wrong are:\n%swant %q", s, want)
		}
	}
	traces, err := a.queue.Traces(natstest.Within(t), "m", nil)
	if err != nil || !strings.Contains(traces.Messages[0].Recipients[0].Is, words) {
		t.Errorf("show: %+v, %v", traces, err)
	}
	open.Store(true)
	a.eventually("the relay is back", func(s *queue.Status) bool { return states(s) == "running, relay up" && s.Lanes[0].Ready() == 0 })
	if s := a.status(); wrong(s) != "" {
		t.Errorf("wrong are:\n%s", wrong(s))
	}
	a.stop()
	if s := a.status(); len(s.Workers.All) > 0 || s.Workers.Unread != "" {
		t.Errorf("left of it: %+v", s.Workers)
	}
}

// TestAnnounceRules: a file of rules that is wrong while the worker runs is a problem of
// status and a metric, until it is right again.
func TestAnnounceRules(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "relays.yaml")
	hold := func(content string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".next", []byte(content), 0o600), os.Rename(path+".next", path)); err != nil {
			t.Fatal(err)
		}
	}
	const good = "rules: [{code: 550, outcome: failed}]\n"
	hold(good)
	a := startAnnounced(t, "SMTP_URL="+smtptest.New(t).URL(), "POSTRIDER_RELAYS="+path)
	a.eventually("it runs", func(s *queue.Status) bool { return states(s) == "running, relay up" })
	metric := func() float64 {
		t.Helper()
		all, err := a.worker.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.GetName() == "postrider_rules_wrong" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	for _, c := range []struct {
		change func()
		want   string
		metric float64
	}{
		{func() {}, "", 0},
		{func() { hold("rules:\n  - {code: 55, outcome: failed}\n") }, "POSTRIDER_RELAYS: " + path + ":2:12: code: is 55, must be a number from 400 to 599, or a list of them; the former rules are in force, and a worker that starts with this file fails | correct the file; postrider relay check examines it\n", 1},
		{func() { hold(good) }, "", 0},
		{func() { _ = os.Remove(path) }, "POSTRIDER_RELAYS: stat " + path + ": no such file", 1},
		{func() { hold(good) }, "", 0},
	} {
		c.change()
		a.worker.Reread() // it looks by itself every ten seconds
		a.eventually("status says: "+c.want, func(s *queue.Status) bool {
			said := wrong(s)
			return (said == "") == (c.want == "") && strings.Contains(said, c.want) && (c.want == "" || strings.HasPrefix(said, "problem rules "))
		})
		if got := metric(); got != c.metric {
			t.Errorf("%s: the metric is %v", c.want, got)
		}
	}
}

// TestAnnounceStopping: a worker that was told to stop says so until it has settled what
// it has in flight.
func TestAnnounceStopping(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	relay := smtptest.New(t, smtptest.On("DOT", smtptest.Answer{Until: answer, Reply: "250 2.0.0 ok"}))
	a := startAnnounced(t, "SMTP_URL="+relay.URL())
	a.publish()
	a.eventually("the message is in flight", func(s *queue.Status) bool { return s.Lanes[0].InFlight == 1 })
	a.worker.Stop()
	a.eventually("it says so", func(s *queue.Status) bool { return states(s) == "stopping, relay up" })
	close(answer)
	a.stop()
	if s := a.status(); states(s) != "" || s.Lanes[0].Ready() != 0 {
		t.Errorf("left of it: %q, %+v", states(s), s.Lanes[0])
	}
}

// TestAnnounceRefused: mail goes its way though the broker does not take what the worker
// says of itself, which is there as soon as the broker takes it.
func TestAnnounceRefused(t *testing.T) {
	t.Parallel()
	relay := smtptest.New(t)
	a := startAnnounced(t, "SMTP_URL="+relay.URL())
	a.eventually("it runs", func(s *queue.Status) bool { return states(s) == "running, relay up" })
	if err := a.broker.Conn.JS().DeleteStream(natstest.Within(t), wire.StreamState); err != nil {
		t.Fatal(err)
	}
	a.publish()
	testrun.Eventually(t, "it is delivered", natstest.Timeout, func() bool { return relay.Accepted() == 1 }, a.out.String)
	if s := wrong(a.status()); !strings.Contains(s, "warning workers KV_POSTRIDER: could not be read: ") {
		t.Errorf("wrong are:\n%s", s)
	}
	if _, err := broker.Provision(natstest.Within(t), a.broker.Conn, a.broker.Lanes, a.broker.Config); err != nil {
		t.Fatal(err)
	}
	a.eventually("it is there again", func(s *queue.Status) bool { return states(s) == "running, relay up" && wrong(s) == "" })
}

// TestStoppedLeavesNothing: what a worker that stopped in good order has given back with a
// pause is not called in flight by the next one.
func TestStoppedLeavesNothing(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, "normal")
	inFlight(t, b, b.Connect(t, broker.Worker))
	a := startAnnouncedAt(t, b, "SMTP_URL="+smtptest.New(t).URL())
	a.eventually("it runs", func(s *queue.Status) bool { return states(s) == "running, relay up" })
	s := a.status()
	if out, words := a.out.String(), s.Workers.Words(s.Lanes, s.At); strings.Contains(out+words, "in flight") {
		t.Errorf("workers: %s\nthe log:\n%s", words, out)
	}
}

// inFlight publishes a mail and takes it as a worker does.
func inFlight(t *testing.T, b *natstest.Broker, conn *broker.Conn) {
	t.Helper()
	(&announced{t: t, broker: b}).publish()
	fresh, err := conn.JS().Consumer(natstest.Within(t), wire.Lane("normal").SendStream(), wire.ConsumerFresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Next(); err != nil {
		t.Fatal(err)
	}
}

// TestAnnounceLeft: a worker that starts says what is in flight, taken by a worker that was
// killed, in its log and to status, and that nothing stands still.
func TestAnnounceLeft(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	cfg.Listen = freeport.Addr()
	e, conn := natstest.StartEmbedded(t, cfg, "normal")
	if _, err := broker.Provision(natstest.Within(t), conn, []wire.Lane{"normal"}, cfg); err != nil {
		t.Fatal(err)
	}
	inFlight(t, &natstest.Broker{Embedded: e, Conn: conn}, conn)
	killed := &wire.Worker{V: wire.WorkerVersion, ID: "K", Host: "h", State: wire.WorkerRunning, Lanes: []wire.Lane{"normal"}, Started: conn.Now(), AckWaitMS: 120_000}
	words, err := killed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Store().Keep(natstest.Within(t), killed.Subject(), words, 4*time.Minute); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	natstest.Shutdown(t, e)
	a := &announced{t: t, ended: make(chan error, 1)}
	a.run("SMTP_URL="+smtptest.New(t).URL(), "NATS_LISTEN="+cfg.Listen, "POSTRIDER_DATA_DIR="+cfg.DataDir, "POSTRIDER_LANES=normal")
	const says = "1 message is in flight, taken by a worker that ended: it comes again within 2m (ack wait)"
	testrun.Eventually(t, "the log says it", natstest.Timeout, func() bool {
		return strings.Contains(a.out.String(), says) && strings.Contains(a.out.String(), "worker started")
	})
	conn = natstest.Dial(t, cfg, broker.Operator)
	a.queue = queue.New(conn.JS(), conn.Store(), conn.Now, conn.Room)
	a.eventually("it runs", func(s *queue.Status) bool { return states(s) == "running, relay up" })
	s := a.status()
	if words := s.Workers.Words(s.Lanes, s.At); !strings.Contains(words, "; 1 message was in flight when ") || wrong(s) != "" {
		t.Errorf("workers: %s\nwrong are:\n%s", words, wrong(s))
	}
	traces, err := a.queue.Traces(natstest.Within(t), "m", nil)
	if err != nil || !strings.Contains(traces.Messages[0].Recipients[0].Is, "; 1 message was in flight when ") {
		t.Errorf("show: %+v, %v", traces, err)
	}
}

package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// TestRulesOfAWorker: a worker with a file of rules. The next reply is judged by what the
// file has become, a bad change leaves the former rules in force and is said, SIGHUP says
// it too, and a message that a rule puts off is scheduled and later delivered.
func TestRulesOfAWorker(t *testing.T) {
	t.Parallel()
	var refuses atomic.Bool
	refuses.Store(true)
	relay := smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "DOT" && refuses.Load() {
			return &smtptest.Answer{Reply: "550 5.4.51 Contingent used up"}
		}
		return nil
	}))
	path := filepath.Join(t.TempDir(), "relays.yaml")
	rules := func(content string) {
		t.Helper()
		if err := os.WriteFile(path+".next", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	rules("rules: [{text: contingent, outcome: deferred, note: day's limit}]\n")
	s := settingsFor(t, "SMTP_URL="+relay.URL(), "POSTRIDER_RELAYS="+path, "SMTP_PAUSE_MIN=50ms", "SMTP_PAUSE_MAX=500ms", "POSTRIDER_RETRY_AFTER=1h")
	settled := make(chan *wire.Record, 100)
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
	go func() { ended <- w.Run(context.WithoutCancel(t.Context())) }()
	testrun.Eventually(t, "it is ready", 20*time.Second, func() bool { return strings.Contains(out.String(), "is ready: ") }, out.String)
	testrun.Eventually(t, "it says how many rules are in force", 20*time.Second, func() bool { return strings.Contains(out.String(), `"rules":1`) }, out.String)
	nc, err := nats.Connect("nats://" + s.Broker.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// next is the record of the next message.
	next := func(id string) *wire.Record {
		t.Helper()
		if _, err := nc.Request("mail.send.normal", []byte(`{"id":"`+id+`","from":"a@example.com","to":["b@example.net"],"text":"hi"}`), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case rec := <-settled:
				if rec.ID == id {
					return rec
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s is not settled: %s", id, out.String())
			}
		}
	}
	want := func(id string, event wire.Event, counted int) {
		t.Helper()
		rec := next(id)
		if rec.Event != event || rec.Counted != counted || event == wire.EventDeferred && !strings.HasSuffix(rec.Recipients[0].Reply, "used up (rule: day's limit)") {
			t.Errorf("%s: %+v", id, rec)
		}
	}
	want("one", wire.EventDeferred, 1)
	rules("rules: [{text: contingent, outcome: failed, note: mine}]\n")
	want("two", wire.EventFailed, 1)
	rules("rules: [{text: contingent, outcome: failing}]\n")
	want("three", wire.EventFailed, 1)
	if n := strings.Count(out.String(), `is wrong now: the former rules stay in force`); n != 1 || !strings.Contains(out.String(), `1:37: outcome: is \"failing\"`) {
		t.Errorf("said %d times:\n%s", n, out.String())
	}
	w.Reread()
	testrun.Eventually(t, "SIGHUP says it", 20*time.Second, func() bool {
		return strings.Contains(out.String(), "files were read again, and what is wrong is not used: correct it, which is seen within ten seconds\"") && strings.Contains(out.String(), "POSTRIDER_RELAYS: "+path+": 1:37: ")
	}, out.String)
	rules("rules: [{text: contingent, outcome: requeued}]\n")
	want("four", wire.EventRequeued, 0)
	refuses.Store(false)
	testrun.Eventually(t, "what was put off is delivered", 20*time.Second, func() bool {
		select {
		case rec := <-settled:
			return rec.ID == "four" && rec.Event == wire.EventDelivered
		default:
			return false
		}
	}, out.String)
	w.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

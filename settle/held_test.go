package settle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

// TestHeldSenderIsPutOff: a relay refuses all mail of one sender, of which much is in front
// of that of others, in their lane and in another. Mail of others is accepted soon, that of
// the sender waits as schedules, uncounted, and what died before is all that dies.
func TestHeldSenderIsPutOff(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DOT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			heldSenderIsPutOff(t, verb)
		})
	}
}

func heldSenderIsPutOff(t *testing.T, verb string) {
	const urgent wire.Lane = "urgent"
	wb.Reserve(t)
	n := natstest.StartWith(t, natstest.Options{AckWait: 10 * time.Second}, lane, urgent)
	b := &bench{wb.On(t, n.Connect)}
	b.Broker, b.Config.AckWait = n, 10*time.Second
	b.Config.Lanes = wire.Lanes{{Lane: lane, Weight: 1}, {Lane: urgent, Weight: 1}}
	b.Settle.PauseMin, b.Settle.PauseMax = time.Hour, time.Hour
	publish := func(l wire.Lane, id, from string, i int) {
		body := fmt.Sprintf(`{"id":"%s-%d","from":%q,"to":["to@%d.example.net"],"text":"hi"}`, id, i, from, i%5)
		if _, err := b.Conn.JS().Publish(t.Context(), l.SendSubject(), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		publish(lane, "bad", "bad@example.com", i)
	}
	for i := range 20 {
		publish([]wire.Lane{lane, urgent}[i%2], "good", fmt.Sprintf("good%d@example.com", i%3), i)
	}
	start := time.Now()
	server := b.workWith(smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == verb && strings.HasPrefix(st.From, "bad") {
			return &smtptest.Answer{Reply: "554 5.7.1 Sender address is not allowed"}
		}
		return nil
	}))
	testrun.Eventually(t, "the good mail is accepted", 30*time.Second, func() bool { return server.Accepted() == 20 })
	t.Logf("%s: 20 good mails after %s", verb, time.Since(start).Round(time.Millisecond))
	b.Eventually("the bad mail waits as schedules", func() bool {
		c, err := b.Conn.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
		if err != nil {
			t.Fatal(err)
		}
		i := c.CachedInfo()
		return i.NumAckPending == 0 && i.NumPending == 0 && i.Delivered.Consumer < 2*210
	})
	// Four, or after each good mail that is accepted before the sender is held four more.
	if dead := len(b.Dead()); dead < 4 || dead > 4*21 {
		t.Errorf("%d dead", dead)
	}
	for _, id := range []string{"bad-100", "bad-199"} {
		if rec := b.record(b.keyOf(id)); rec.Counted != 0 || rec.Event != wire.EventRequeued || !rec.Has(wire.StateScheduled) {
			t.Errorf("record of %s: %+v", id, rec)
		}
	}
}

package settle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// closesAt is a relay that closes the session at the RCPT of the addresses that
// begin with "421" or "hang".
func closesAt() smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case st.Verb != "RCPT":
		case strings.HasPrefix(st.Address, "421"):
			return &smtptest.Answer{Reply: "421 4.3.2 not this one", HangUp: true}
		case strings.HasPrefix(st.Address, "hang"):
			return &smtptest.Answer{HangUp: true}
		}
		return nil
	})
}

// TestBadCompany: a recipient at whom the relay closes the session does not keep
// the others of the mail from being sent to, and the log says what the relay said.
func TestBadCompany(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.workWith(smtptest.Extensions("PIPELINING"), closesAt())
	b.Publish("one", "ann@example.net", "421@example.net", "bob@example.net")
	b.Publish("two", "hang@example.net", "hang2@example.net", "cid@example.net")
	// More than a hand sets aside.
	b.Publish("many", "hang@example.net", "hang2@example.net", "hang3@example.net", "hang4@example.net", "hang5@example.net", "dan@example.net")
	want := []string{"ann@example.net", "bob@example.net", "cid@example.net", "dan@example.net"}
	b.Eventually("the others have it", func() bool {
		to := map[string]int{}
		for _, m := range server.Messages() {
			for _, r := range m.Rcpts {
				to[r]++
			}
		}
		for _, r := range want {
			if to[r] != 1 {
				return false
			}
		}
		return len(to) == len(want)
	})
	b.Eventually("the log says why the one waits", func() bool {
		records, err := journal.New(b.Store).Records(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(records, func(r *wire.Record) bool {
			return slices.ContainsFunc(r.Attempts, func(a wire.Attempt) bool { return strings.Contains(fmt.Sprint(a), "not this one") })
		})
	})
}

// TestRelayAloneIsToBlame: where the relay is down from what it says to a
// recipient, none is set aside and the others are not tried.
func TestRelayAloneIsToBlame(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := smtptest.New(t, smtptest.On("RCPT", smtptest.Answer{Reply: "530 5.7.0 authenticate"}))
	w := b.idle()
	w.Relay = b.relayAt(server)
	b.Publish("m", "ann@example.net", "bob@example.net")
	h := b.pullFresh(w)
	if err := w.settle(t.Context(), h); !errors.Is(err, settle.ErrLeft) || len(h.Aside()) > 0 {
		t.Errorf("%v, set aside %v", err, h.Aside())
	}
}

// TestHangUpsAreScheduled: mail at whose recipient the relay closes the session
// soon waits as a schedule, and not in one of the places of its lane.
func TestHangUpsAreScheduled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = 100*time.Millisecond, time.Hour
	b.workWith(closesAt())
	for i := range 20 {
		b.Publish(fmt.Sprintf("m-%d", i), "hang@example.net")
	}
	b.Eventually("all wait as schedules", func() bool {
		c, err := b.Conn.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
		if err != nil {
			t.Fatal(err)
		}
		i := c.CachedInfo()
		return i.NumAckPending == 0 && i.NumPending == 0 && i.Delivered.Consumer <= 3*20
	})
}

// TestNamedTwice: a mailbox that is named in to and cc gets the mail once.
func TestNamedTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.RecipientsPerTransaction = 1
	b.PublishWith("twice", `,"cc":["Ann <ann@EXAMPLE.net>","bob@example.net"]`, "ann@example.net")
	b.Work(nil)
	b.Settled()
	b.Accepted("twice", map[string]int{"ann@example.net": 1, "ann@EXAMPLE.net": 0, "bob@example.net": 1})
}

// TestStrandedMailKeepsItsTime: mail that is not to go before a time does not go
// before it, however it came to be replayed.
func TestStrandedMailKeepsItsTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	b.PublishWith("embargo", `,"send_at":"`+at.Format(time.RFC3339)+`"`, "ann@example.net")
	b.exhaust(w)
	b.PublishWith("unread", `,"send_at":"`+at.Format(time.RFC3339)+`"`, "ann@example.net")
	h := b.pullFresh(w)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonCrashLoop {
		t.Fatalf("%d dead letters", len(dead))
	}
	if err := b.Graves.Replay(t.Context(), dead[0], 5); err != nil {
		t.Fatal(err)
	}
	b.Work(nil)
	b.Eventually("both are scheduled for their time", func() bool {
		n := 0
		for _, id := range []string{"embargo", dead[0].Key.ID} { // whose body was not read
			records, err := journal.New(b.Store).Records(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if r.Event == wire.EventScheduled && r.Due.Equal(at) {
					n++
				}
			}
		}
		return n == 2
	})
	b.Accepted("embargo", map[string]int{"ann@example.net": 0})
	b.Accepted("unread", map[string]int{"ann@example.net": 0})
}

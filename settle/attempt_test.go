package settle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// hanging is a relay that closes the session at the RCPT of each address that
// begins with "hang".
type hanging struct {
	mu       sync.Mutex
	sessions int
	words    string
	// defers: it defers all recipients instead.
	defers bool
	// asked are the recipients of each transaction, accepted those it took.
	asked    [][]string
	accepted map[string]int
}

func (*hanging) Up() bool                   { return true }
func (*hanging) Wait(context.Context) error { return nil }

func (r *hanging) Deliver(_ context.Context, m mail.Message) mail.Transaction {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions++
	tx := mail.Transaction{At: time.Now(), Relay: "hanging", Session: fmt.Sprint(r.sessions), Outcomes: make([]mail.Outcome, len(m.Recipients))}
	var to []string
	for _, x := range m.Recipients {
		to = append(to, x.Address)
	}
	r.asked = append(r.asked, to)
	at := slices.IndexFunc(to, func(a string) bool { return strings.HasPrefix(a, "hang") })
	for i, a := range to {
		switch {
		case r.defers:
			tx.Outcomes[i] = mail.Outcome{Class: mail.Deferred, Stage: mail.StageRcpt, Code: 450, Reply: "later"}
		case at < 0:
			r.accepted[a]++
			tx.Outcomes[i] = mail.Outcome{Class: mail.Delivered, Stage: mail.StageDot, Code: 250, Reply: "ok"}
		case i == at:
			tx.Outcomes[i] = mail.Outcome{Class: mail.Requeued, Stage: mail.StageRcpt, Code: 421, Enhanced: "4.3.2", Reply: r.words}
		default:
			tx.Outcomes[i] = mail.Outcome{Class: mail.Pending, Stage: mail.StageRcpt, Code: 421, Enhanced: "4.3.2", Reply: r.words}
		}
	}
	return tx
}

// TestManyHangUps: the relay hangs up at more recipients than the log of a copy can
// name, and still the last one is sent to.
func TestManyHangUps(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, time.Millisecond
	r := &hanging{accepted: map[string]int{}, words: strings.Repeat("not this one ", 100)}
	b.WorkAt(r)
	const hangs = 120 // with those words a log has room for fewer, even one by one
	var to []string
	for i := range hangs {
		to = append(to, fmt.Sprintf("hang%d@example.net", i))
	}
	b.Publish("m", append(to, "ann@example.net")...)
	sent := func() (sessions, accepted int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.sessions, r.accepted["ann@example.net"]
	}
	b.Eventually("she has it, or everybody had many turns", func() bool {
		sessions, accepted := sent()
		return accepted > 0 || sessions > 4*hangs
	})
	if sessions, accepted := sent(); accepted != 1 {
		t.Errorf("accepted %d times in %d sessions", accepted, sessions)
	}
}

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
	// More than one delivery sets aside.
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

// TestRelayAloneIsToBlame: if the relay is down from what it says to a recipient,
// nobody is set aside and the others are not tried.
func TestRelayAloneIsToBlame(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := smtptest.New(t, smtptest.On("RCPT", smtptest.Answer{Reply: "530 5.7.0 authenticate"}))
	w := b.idle()
	w.Relay = b.relayAt(server)
	b.Publish("m", "ann@example.net", "bob@example.net")
	h := b.pullFresh(w)
	h.Read()
	rec := h.Draft(h.Stored)
	err := w.Attempt(t.Context(), h, rec)
	if aside := rec.HungUpSince(nil); !errors.Is(err, settle.ErrLeft) || len(aside) > 0 {
		t.Errorf("%v, set aside %v", err, aside)
	}
	if n := len(rec.Attempts); n != 1 {
		t.Errorf("%d transactions, want one", n)
	}
}

// TestHangUpsComeLast: at most three recipients are set aside in a delivery, and
// whoever is pending then is scheduled, uncounted. In the next one those at whom the
// relay hung up come after the others.
func TestHangUpsComeLast(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := &hanging{accepted: map[string]int{}, words: "not this one"}
	w := b.idle()
	w.Relay = r
	b.Publish("m", "hang0@x.test", "hang1@x.test", "hang2@x.test", "hang3@x.test", "ann@x.test", "hang4@x.test", "bob@x.test")
	if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	if len(r.asked) != 4 || len(r.accepted) > 0 {
		t.Errorf("%d transactions, accepted %v: three are set aside, and the fourth hang-up ends it", len(r.asked), r.accepted)
	}
	rec := b.record(b.keyOf("m"))
	if rec.Event != wire.EventRequeued || rec.Together != wire.StateScheduled || rec.Counted != 0 || !rec.Due.After(rec.At) {
		t.Errorf("record %+v, want all scheduled together and nothing counted", rec)
	}
	r.asked = nil
	if err := w.settle(t.Context(), b.pullDue(w)); err != nil {
		t.Fatal(err)
	}
	if want := "[[ann@x.test hang4@x.test bob@x.test] [ann@x.test bob@x.test] [hang0@x.test hang1@x.test hang2@x.test hang3@x.test]"; !strings.HasPrefix(fmt.Sprint(r.asked), want) {
		t.Errorf("asked %v, want %s first", r.asked, want)
	}
	if fmt.Sprint(r.accepted) != "map[ann@x.test:1 bob@x.test:1]" {
		t.Errorf("accepted %v", r.accepted)
	}
	if n := len(b.Dead()); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// settleDue settles the next due copy of the message and returns its record then.
func (b *bench) settleDue(w *worker, id string) *wire.Record {
	b.T.Helper()
	if err := w.settle(b.T.Context(), b.pullDue(w)); err != nil {
		b.T.Fatal(err)
	}
	return b.record(b.keyOf(id))
}

// TestOneGoodAmongAHundred: the relay hangs up at a hundred recipients, once each before
// the last one has the mail. Their counts outlive the log of the copy, which is
// bounded.
func TestOneGoodAmongAHundred(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, time.Millisecond
	r := &hanging{accepted: map[string]int{}, words: strings.Repeat("not this one ", 100)}
	w := b.idle()
	w.Relay = r
	const hangs, inADelivery = 100, 4
	var to []string
	for i := range hangs {
		to = append(to, fmt.Sprintf("hang%d@example.net", i))
	}
	b.Publish("m", append(to, "ann@example.net")...)
	if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	for n := 1; r.accepted["ann@example.net"] == 0; n++ {
		if n > hangs/inADelivery {
			t.Fatalf("after %d deliveries she does not have it", n)
		}
		rec := b.settleDue(w, "m")
		hungUp := 0
		for i, x := range rec.Recipients[:hangs] {
			if hungUp += x.HangUps; n < hangs/inADelivery && (x.HangUps > 1 || x.HangUps == 0 && rec.Recipients[i+1].HangUps > 0) {
				t.Errorf("delivery %d: %d hang-ups at recipient %d", n, x.HangUps, i)
			}
		}
		if want := (n + 1) * inADelivery; hungUp != want {
			t.Errorf("delivery %d: %d hang-ups are known, want %d", n, hungUp, want)
		}
		if n == hangs/inADelivery-1 && len(rec.Attempts) >= hangs {
			t.Errorf("the log has all %d attempts: this shows nothing", len(rec.Attempts))
		}
	}
}

// TestEachGetsATurn: a relay that hangs up at every recipient is asked about each of
// them before it is asked about one of them again.
func TestEachGetsATurn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, time.Millisecond
	w := b.idle()
	w.Relay = &hanging{accepted: map[string]int{}, words: "not this one"}
	var to []string
	for i := range 10 {
		to = append(to, fmt.Sprintf("hang%d@example.net", i))
	}
	b.Publish("m", to...)
	if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[1 1 1 1 1 1 1 1 0 0]", "[2 2 1 1 1 1 1 1 1 1]", "[2 2 2 2 2 2 1 1 1 1]"} {
		var hangUps []int
		for _, x := range b.settleDue(w, "m").Recipients {
			hangUps = append(hangUps, x.HangUps)
		}
		if fmt.Sprint(hangUps) != want {
			t.Errorf("hang-ups %v, want %s", hangUps, want)
		}
	}
}

// TestHangUpsOutliveADeferral: a recipient at whom the relay hung up and whom it then
// defers still comes after the others.
func TestHangUpsOutliveADeferral(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, time.Millisecond
	b.Settle.RetryAfter = []time.Duration{100 * time.Millisecond}
	r := &hanging{accepted: map[string]int{}, words: "not this one"}
	w := b.idle()
	w.Relay = r
	b.Publish("m", "hang0@x.test", "hang1@x.test", "hang2@x.test", "hang3@x.test", "hang4@x.test")
	if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
		t.Fatal(err)
	}
	r.defers = true
	if rec := b.settleDue(w, "m"); rec.Together != wire.StateScheduled || rec.Counted != 1 {
		t.Fatalf("record %+v, want all deferred", rec)
	}
	r.defers, r.asked = false, nil
	b.settleDue(w, "m")
	if want := "[[hang4@x.test] [hang0@x.test"; !strings.HasPrefix(fmt.Sprint(r.asked), want) {
		t.Errorf("asked %v, want %s first", r.asked, want)
	}
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

package smtp

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

// offersAuth is a relay that offers AUTH and asks for none.
var offersAuth = smtptest.Extensions("PIPELINING", "AUTH PLAIN LOGIN")

// TestWithoutAuth: a relay that offers AUTH, of which we make no use, and refuses us is
// asked no more until it accepts a message, and the alarm says what to set. A refusal that
// is about something else, or of a relay that offers no AUTH, is the message's.
func TestWithoutAuth(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		for reply, want := range map[string]string{
			"554 5.7.1 <a@x.test>: Relay access denied": "requeued", "550 5.7.1 relaying denied": "requeued", "554 no": "requeued",
			"553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)": "requeued", "550 SMTP AUTH is required": "requeued",
			"550 5.1.1 no such user": "failed", "554 5.6.0 what is that": "failed", "550 4.7.1 digits disagree": "failed", "550 no": "failed",
		} {
			script := smtptest.On(verb, smtptest.Answer{Reply: reply})
			b := newBundle(t, smtptest.New(t, offersAuth, script), nil)
			b.wantClasses(t, message(), want)
			if alarms := b.log.count("SMTP_USERNAME"); (alarms == 1) != (want == "requeued") || b.Up() != (want == "failed") {
				t.Errorf("%s %s: up %v\n%s", verb, reply, b.Up(), b.log)
			}
			b = newBundle(t, smtptest.New(t, script), nil)
			b.wantClasses(t, message(), "failed")
			b = newBundle(t, smtptest.New(t, offersAuth, script), func(c *Config) { c.DiscardEHLO = "AUTH" })
			b.wantClasses(t, message(), "failed")
			if verb != "MAIL" { // it demands AUTH there
				b = newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), script), credentials)
				b.wantClasses(t, message(), "failed")
			}
		}
	}
}

// TestOpenRelay: a relay that has accepted a message without AUTH, in whatever session, or
// a recipient of this one, does not need it.
func TestOpenRelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, offersAuth, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "RCPT" && strings.HasPrefix(st.Address, "bad") {
				return &smtptest.Answer{Reply: "554 5.7.1 no relaying to there"}
			}
			return nil
		}))
		bad := message("bad@x.test")
		bad.ID = "bad"
		b.wantClasses(t, bad, "requeued")
		b.wantClasses(t, message(), "requeued")
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantClasses(t, bad, "requeued") // nobody else wanted to be tried
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := make(chan string)
		go func() { got <- classes(b.Deliver(t.Context(), bad)) }()
		synctest.Wait()
		b.wantClasses(t, message("a@x.test", "bad@x.test"), "delivered failed")
		if x := <-got; x != "failed" {
			t.Errorf("the bad message: %s", x)
		}
		time.Sleep(time.Minute) // the session is closed
		b.wantClasses(t, bad, "failed")
		if e, i := b.log.count("level=ERROR"), b.log.count("resumes"); e != 1 || i != 1 || !b.Up() {
			t.Errorf("%d alarms, resumed %d times\n%s", e, i, b.log)
		}
	})
}

package smtp

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// offer is a line of testdata/capabilities.txt.
type offer struct {
	line                                      int
	message, outcome, enhanced, params, lines string
}

func readOffers(t *testing.T) []offer {
	t.Helper()
	columns := regexp.MustCompile(`^(\S+) +(\w+)(?: ([\d.]+))? {2,}(\S+(?: \S+)*) {2,}(\S.*)$`)
	var all []offer
	for n, line := range tableLines(t, "testdata/capabilities.txt") {
		m := columns.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line %d cannot be read", n)
		}
		all = append(all, offer{n, m[1], m[2], m[3], strings.TrimPrefix(m[4], "-"), m[5]})
	}
	return all
}

// TestCapabilities tries each line against a real listener, on a fresh session and
// on one that has delivered a message.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	for _, o := range readOffers(t) {
		for _, session := range []string{"fresh", "reused"} {
			t.Run("line "+strconv.Itoa(o.line)+" "+session, func(t *testing.T) {
				t.Parallel()
				o.check(t, session == "reused")
			})
		}
	}
}

func (o offer) check(t *testing.T, reused bool) {
	opts := []smtptest.Option{smtptest.Extensions(strings.Split(o.lines, ",")...)}
	if o.lines == "HELO" {
		opts = append(opts, smtptest.On("EHLO", smtptest.Answer{Reply: "502 5.5.1 no"}))
	}
	b := newBundle(t, smtptest.New(t, opts...), func(c *Config) {
		if strings.HasSuffix(o.message, "!") {
			c.EightBit = "fail"
		}
	})
	if reused {
		// One byte passes every SIZE.
		b.wantClasses(t, mailWith("\n"), "delivered")
	}
	m := mailWith(strings.Repeat("x", 68)+"\r\n", "a@x.test", "b@x.test")
	kind := strings.TrimSuffix(o.message, "!")
	m.EightBit = kind == "8bit" || kind == "both"
	m.UTF8 = kind == "utf8" || kind == "both"
	before := b.server.Accepted()
	for _, got := range b.wantClasses(t, m, o.outcome+" "+o.outcome).Outcomes {
		if o.outcome == "failed" && (got.Enhanced != o.enhanced || got.Stage != mail.StageLocal || got.Code != 0 || got.Reply == "") {
			t.Errorf("%+v, want %s", got, o.enhanced)
		}
		// The event says what the relay did not offer.
		bare := o.outcome == "delivered" && m.EightBit && !strings.Contains(o.params, "8BITMIME")
		if strings.HasSuffix(got.Reply, unoffered) != bare || o.outcome == "delivered" && (got.QueueID == "" || strings.Contains(got.QueueID, " ")) {
			t.Errorf("%+v, want it said: %v", got, bare)
		}
	}
	said := regexp.MustCompile(`(?m)^C: MAIL FROM:<sender@x.test> ?(.*?)\r?$`).FindAllStringSubmatch(b.server.Transcript(1), -1)
	if want := b.server.Accepted(); len(said) != want {
		t.Errorf("%d MAILs for %d messages", len(said), want)
	}
	if o.outcome == "failed" {
		if b.server.Accepted() != before {
			t.Error("it was sent")
		}
		return
	}
	if got := said[len(said)-1][1]; got != o.params {
		t.Errorf("MAIL had %q, want %q", got, o.params)
	}
	if b.server.Sessions() != 1 {
		t.Errorf("%d sessions", b.server.Sessions())
	}
}

// TestRefusedOneByOne: the reply to DATA or the dot is for the recipients who were
// accepted; the others keep the outcome of their own RCPT.
func TestRefusedOneByOne(t *testing.T) {
	t.Parallel()
	for verb, c := range map[string]struct{ reply, class string }{
		"DATA": {"554 5.6.0 no", "failed"}, "DOT": {"451 4.3.0 later", "deferred"},
	} {
		b := newBundle(t, smtptest.New(t, smtptest.ByAddress(), smtptest.On(verb, smtptest.Answer{Reply: c.reply}),
			smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
				if st.Verb == "RCPT" && st.Rcpt == 4 {
					return &smtptest.Answer{Reply: "452 4.5.3 too many"}
				}
				return nil
			})), nil)
		tx := b.wantClasses(t, message("a@x.test", "550@x.test", "451@x.test", "b@x.test"), c.class+" failed deferred pending")
		if got := tx.Outcomes[1].Stage + tx.Outcomes[2].Stage + tx.Outcomes[3].Stage; got != "rcptrcptrcpt" {
			t.Errorf("%s: %+v", verb, tx.Outcomes)
		}
	}
}

package doctor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/smtp"
)

// canary is the password, which no finding may hold.
const canary = "c4nary-s3cret"

// TestRelayFaults makes each fault of a relay at a real listener.
func TestRelayFaults(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	lasts := func(d time.Duration) smtptest.Option { return smtptest.TLS(ca.Certificate("127.0.0.1", d), false) }
	const day = 24 * time.Hour
	login := smtptest.Auth("ann", canary)
	for name, c := range map[string]struct {
		opts   []smtptest.Option
		change func(*smtp.Config)
		level  Level
		check  string
		says   string
	}{
		"well":               {[]smtptest.Option{lasts(30 * day), login}, nil, OK, "relay", "TLS 1.3, logged in as ann"},
		"certificate ends":   {[]smtptest.Option{lasts(5*day + time.Hour), login}, nil, Warning, "certificate", "expires in 5 days"},
		"expired":            {[]smtptest.Option{lasts(-time.Minute), login}, nil, Problem, "relay", "expired"},
		"self-signed":        {[]smtptest.Option{smtptest.TLS(ca.SelfSigned("127.0.0.1"), false)}, nil, Problem, "relay", "cannot be trusted"},
		"another name":       {[]smtptest.Option{smtptest.TLS(ca.Certificate("else.test", day), false)}, nil, Problem, "relay", "is not for 127.0.0.1"},
		"wrong password":     {[]smtptest.Option{lasts(30 * day), smtptest.Auth("ann", "other")}, nil, Problem, "relay", "refused the password of ann: 535"},
		"password echoed":    {[]smtptest.Option{lasts(30 * day), login, smtptest.On("AUTH", smtptest.Answer{Reply: "535 5.7.8 not " + canary})}, nil, Problem, "relay", "its words are withheld"},
		"no STARTTLS":        {nil, func(c *smtp.Config) { c.URL, _, _ = strings.Cut(c.URL, "?") }, Problem, "relay", "offers no STARTTLS"},
		"clear text":         {nil, func(c *smtp.Config) { c.Username, c.Password = "", "" }, Note, "relay", "in clear text"},
		"AUTH, and no user":  {[]smtptest.Option{lasts(30 * day), login}, func(c *smtp.Config) { c.Username, c.Password = "", "" }, Note, "relay", "offers AUTH PLAIN LOGIN, and SMTP_USERNAME is not set; opened a session after "},
		"hangs up":           {[]smtptest.Option{smtptest.On("CONNECT", smtptest.Answer{HangUp: true})}, func(c *smtp.Config) { c.AuthWithoutTLS = true }, Problem, "relay", "hung up"},
		"no mail server":     {[]smtptest.Option{smtptest.On("CONNECT", smtptest.Answer{Raw: "SSH-2.0-x\r\n"})}, func(c *smtp.Config) { c.AuthWithoutTLS = true }, Problem, "relay", "does not speak SMTP"},
		"all sessions taken": {[]smtptest.Option{smtptest.On("CONNECT", smtptest.Answer{Reply: "421 4.7.0 too many connections"})}, func(c *smtp.Config) { c.AuthWithoutTLS = true }, Warning, "relay", "too many connections"},
		"away":               {nil, func(c *smtp.Config) { c.URL, c.AuthWithoutTLS = "smtp://127.0.0.1:9?tls=none", true }, Problem, "relay", "127.0.0.1:9: refused the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, c.opts...)
			p := &Patient{Relay: smtp.DefaultConfig()}
			p.Relay.URL, p.Relay.CAFile, p.Relay.Username, p.Relay.Password = server.URL(), ca.File(), "ann", canary
			if c.change != nil {
				c.change(&p.Relay)
			}
			all := p.relay(t.Context())
			wantIn(t, all, c.level, c.check, c.says)
			if said := written(all); strings.Contains(said, canary) {
				t.Errorf("tells the password:\n%s", said)
			}
			if server.Accepted() > 0 || strings.Contains(server.Transcript(1), "C: MAIL") {
				t.Errorf("sent mail:\n%s", server.Transcript(1))
			}
		})
	}
}

// TestRelayIsLookedAtWithoutABroker: one check that fails hides no other.
func TestRelayIsLookedAtWithoutABroker(t *testing.T) {
	t.Parallel()
	p := &Patient{Away: context.DeadlineExceeded, Relay: smtp.DefaultConfig()}
	p.Relay.URL = smtptest.New(t).URL()
	all, err := Examine(t.Context(), p)
	if err == nil {
		t.Error("no error")
	}
	wantIn(t, all, Problem, "broker", "deadline exceeded")
	wantIn(t, all, Note, "relay", "in clear text")
}

// TestWhose: of a relay it is said whose words they are; the same words are one finding.
// That workers have all its sessions is said only while they use it.
func TestWhose(t *testing.T) {
	t.Parallel()
	run, none := Finding{Level: OK, Check: "workers", Found: "1 (h)"}, Finding{Level: Note, Check: "workers", Found: "none is running"}
	down := Finding{Level: Problem, Check: "relay", At: "r:25", Found: "refused the session: 421 no; down since 12:00", Do: "ask"}
	own := func(level Level, found string) Finding {
		return Finding{Level: level, Check: "relay", At: "r:25", Found: found, Do: "ask"}
	}
	for name, c := range map[string]struct {
		said []Finding
		own  Finding
		want []string
	}{
		"the same":           {[]Finding{run, down}, own(Warning, "refused the session: 421 no"), []string{"workers say, and it is so from here: refused the session: 421 no; down since 12:00 | ask"}},
		"up from here":       {[]Finding{run, down}, own(OK, "ready after 2ms"), []string{"workers say: refused the session: 421 no; down since 12:00 | ask", "from here: ready after 2ms | ask"}},
		"workers have all":   {[]Finding{run}, own(Warning, "refused the session: 421 no"), []string{"from here: refused the session: 421 no | " + roomForOthers}},
		"down in two ways":   {[]Finding{run, down}, own(Warning, "refused the session: 421 other"), []string{"workers say: refused the session: 421 no; down since 12:00 | ask", "from here: refused the session: 421 other | ask"}},
		"no worker runs":     {[]Finding{none}, own(Warning, "refused the session: 421 no"), []string{"from here: refused the session: 421 no | ask"}},
		"nothing said there": {nil, Finding{Level: Note, Check: "relay", At: smtpURL, Found: "is not set", Do: "ask"}, []string{"is not set | ask"}},
	} {
		var got []string
		for _, f := range whose(c.said, []Finding{c.own}) {
			if f.Check == "relay" {
				got = append(got, f.Found+" | "+f.Do)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

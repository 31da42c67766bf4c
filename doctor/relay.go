package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

const (
	// relayFor bounds the check of the relay, relayStep each of its steps: a
	// worker is more patient, an operator is not.
	relayFor  = 30 * time.Second
	relayStep = 10 * time.Second
	// renewBefore is when a certificate should have been renewed.
	renewBefore = 14 * 24 * time.Hour
)

// smtpURL is what was examined if no relay is named.
const smtpURL = "SMTP_URL"

// relay opens one session and sends no mail.
func (p *Patient) relay(ctx context.Context) []Finding {
	if p.Relay.URL == "" {
		return []Finding{{Level: Note, Check: "relay", At: smtpURL, Found: "is not set here, so no relay was examined; a worker without it uses the development relay and sends nothing", Do: "run postrider doctor with the SMTP_ variables of the workers"}}
	}
	if len(p.Relay.Validate()) > 0 || p.Relay.Username != "" && p.Relay.Password == "" {
		return nil // said by the settings
	}
	cfg := p.Relay
	cfg.Timeouts = cfg.Timeouts.Within(relayStep)
	ctx, cancel := context.WithTimeout(ctx, relayFor)
	defer cancel()
	x, err := smtp.Check(ctx, cfg)
	return judgeRelay(x, err, time.Now())
}

// judgeRelay: does the relay take mail from us, and for how long yet?
func judgeRelay(x *smtp.Checkup, err error, now time.Time) []Finding {
	if bad, ok := errors.AsType[*smtp.Error](err); ok {
		f := Finding{Level: Problem, Check: "relay", At: bad.Relay, Found: bad.Detail(), Do: bad.Hint}
		if bad.Crowded() {
			f.Level = Warning
		}
		return []Finding{f}
	}
	if err != nil {
		return judgeSettings([]error{err})
	}
	f := Finding{Level: OK, Check: "relay", At: x.Relay, Found: "ready"}
	var do []string
	if x.Offers != "" {
		f.Found = "offers AUTH " + x.Offers + ", and SMTP_USERNAME is not set; opened a session"
		do = append(do, "if it refuses mail without AUTH, set SMTP_USERNAME and SMTP_PASSWORD")
	}
	f.Found += fmt.Sprintf(" after %s, ", x.Took.Round(time.Millisecond)) + cmp.Or(x.TLS, "in clear text: whoever is between can read and change mail")
	if x.TLS == "" {
		do = append(do, "take ?tls= out of SMTP_URL, if the relay offers STARTTLS")
	}
	if len(do) > 0 {
		f.Level, f.Do = Note, strings.Join(do, "; ")
	}
	if x.User != "" {
		f.Found += ", logged in as " + x.User
	}
	all := []Finding{f}
	if left := x.Expires.Sub(now); !x.Expires.IsZero() && left < renewBefore {
		all = append(all, Finding{Level: Warning, Check: "certificate", At: x.Relay, Found: fmt.Sprintf("expires in %d days, at %s: mail waits from then on", int(left/(24*time.Hour)), x.Expires.UTC().Format(time.RFC3339)), Do: "have it renewed by the relay's operator"})
	}
	return all
}

// roomForOthers is what to do about a relay that refuses us while workers use it.
const roomForOthers = "the workers may have all the sessions it allows: lower SMTP_MAX_SESSIONS by one if it must have room for others"

// whose says of each finding about a relay whose words it is: said is by the workers, own
// by this process. If both say the same of a relay, that is one finding.
func whose(said, own []Finding) []Finding {
	var all []Finding
	for _, f := range said {
		if f.Check == "relay" {
			same := func(g Finding) bool { return g.At == f.At && g.Check == f.Check && strings.HasPrefix(f.Found, g.Found) }
			by := "workers say: "
			if slices.ContainsFunc(own, same) {
				own, by = slices.DeleteFunc(own, same), "workers say, and it is so from here: "
			}
			f.Found = by + f.Found
		}
		all = append(all, f)
	}
	up := slices.ContainsFunc(all, func(f Finding) bool { return f.Check == "workers" && f.Level == OK }) &&
		!slices.ContainsFunc(all, func(f Finding) bool { return f.Check == "relay" })
	for _, f := range own {
		if f.Check == "relay" && f.At != smtpURL {
			if f.Level == Warning && up {
				f.Do = roomForOthers
			}
			f.Found = "from here: " + f.Found
		}
		all = append(all, f)
	}
	return all
}

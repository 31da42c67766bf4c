package doctor

import (
	"context"
	"errors"
	"fmt"
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

// relay opens one session and sends no mail.
func (p *Patient) relay(ctx context.Context) []Finding {
	if p.Relay.URL == "" {
		return []Finding{{Level: Note, Check: "relay", At: "SMTP_URL", Found: "is not set here, so no relay was examined; a worker without it uses the development relay and sends nothing", Do: "run postrider doctor with the SMTP_ variables of the workers"}}
	}
	if len(p.Relay.Validate()) > 0 {
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
			f.Do = "the workers may have all the sessions it allows: lower SMTP_MAX_SESSIONS by one if it must have room for others"
		}
		return []Finding{f}
	}
	if err != nil {
		return judgeSettings([]error{err})
	}
	f := Finding{Level: OK, Check: "relay", At: x.Relay, Found: fmt.Sprintf("ready after %s, %s", x.Took.Round(time.Millisecond), x.TLS)}
	if x.TLS == "" {
		f.Level, f.Found = Note, fmt.Sprintf("ready after %s, in clear text: whoever is between can read and change mail", x.Took.Round(time.Millisecond))
		f.Do = "take ?tls= out of SMTP_URL, if the relay offers STARTTLS"
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

package smtp

import (
	"encoding/base64"
	"slices"

	"github.com/postrider/postrider/mail"
)

// authenticate proves who we are, with PLAIN (RFC 4616) or else LOGIN. It sends
// a password in clear text only where that was asked for.
func (w *wire) authenticate(c Config, x extensions) *fault {
	if !w.secure() && !c.AuthWithoutTLS {
		return &fault{
			stage: mail.StageAuth, trouble: alarming, what: "offers no TLS, and the password is not sent in clear text",
			todo: "use a relay with STARTTLS, or set SMTP_AUTH_WITHOUT_TLS=true",
		}
	}
	user, password := c.Username, string(c.Password)
	switch {
	case slices.Contains(x.auth, "PLAIN"):
		return w.converse(c, "PLAIN", "\x00"+user+"\x00"+password)
	case slices.Contains(x.auth, "LOGIN"):
		return w.converse(c, "LOGIN", "", user, password)
	}
	return &fault{
		stage: mail.StageAuth, trouble: alarming, what: "offers neither AUTH PLAIN nor AUTH LOGIN, and SMTP_USERNAME is set",
		todo: "use its submission port in SMTP_URL, or unset SMTP_USERNAME and SMTP_PASSWORD",
	}
}

// converse sends AUTH with an initial response where first is not empty, and
// answers each challenge with the next of rest (RFC 4954 section 4).
func (w *wire) converse(c Config, mechanism, first string, rest ...string) *fault {
	line := "AUTH " + mechanism
	if first != "" {
		line += " " + base64.StdEncoding.EncodeToString([]byte(first))
	}
	for {
		r, err := w.ask(line, c.Timeouts.Auth)
		if err != nil {
			return wireFault(mail.StageAuth, err, "AUTH")
		}
		if r.code == 334 && len(rest) > 0 {
			line = base64.StdEncoding.EncodeToString([]byte(rest[0]))
			rest = rest[1:]
			continue
		}
		if r.code == 235 {
			return nil
		}
		return authFault(c, r)
	}
}

func authFault(c Config, r reply) *fault {
	f := replyFault(mail.StageAuth, r, "refused the password of "+c.Username, "set SMTP_USERNAME and SMTP_PASSWORD")
	if r.code/100 != 5 {
		// 454 (RFC 4954 section 4.7.2) and the like: its trouble, not the password's.
		f.what, f.todo = "cannot check the password now", "look at the relay's log"
	}
	return f
}

// wantsCredentials are the codes that say, at whatever stage, that the account
// is the trouble and not the message (RFC 4954 section 6).
func wantsCredentials(code int) bool {
	return code == 530 || code == 534 || code == 535 || code == 538
}

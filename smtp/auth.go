package smtp

import (
	"encoding/base64"
	"slices"

	"github.com/postrider/postrider/mail"
)

// authenticate logs in with PLAIN (RFC 4616) or else LOGIN. It sends a password
// in clear text only if the configuration asks for that.
func (w *wire) authenticate(c Config, x extensions) *Error {
	if !w.secure() && !c.AuthWithoutTLS {
		return newError(mail.StageAuth, alarming, "offers no TLS, and the password is not sent in clear text",
			"use a relay with STARTTLS, or set SMTP_AUTH_WITHOUT_TLS=true")
	}
	user, password := c.Username, string(c.Password)
	switch {
	case slices.Contains(x.auth, "PLAIN"):
		return w.converse(c, "PLAIN", "\x00"+user+"\x00"+password)
	case slices.Contains(x.auth, "LOGIN"):
		return w.converse(c, "LOGIN", "", user, password)
	}
	return newError(mail.StageAuth, alarming, "offers neither AUTH PLAIN nor AUTH LOGIN, and SMTP_USERNAME is set",
		"use its submission port in SMTP_URL, or unset SMTP_USERNAME and SMTP_PASSWORD")
}

// converse sends AUTH, with first as initial response unless it is empty, and
// answers each challenge with the next of rest (RFC 4954 section 4).
func (w *wire) converse(c Config, mechanism, first string, rest ...string) *Error {
	line := "AUTH " + mechanism
	if first != "" {
		line += " " + base64.StdEncoding.EncodeToString([]byte(first))
	}
	for {
		r, err := w.ask(line, c.Timeouts.Command)
		if err != nil {
			return silenceError(mail.StageAuth, "AUTH", err)
		}
		if r.code == 334 && len(rest) > 0 {
			line = base64.StdEncoding.EncodeToString([]byte(rest[0]))
			rest = rest[1:]
			continue
		}
		if r.code == 235 {
			return nil
		}
		return authError(c, r)
	}
}

func authError(c Config, r reply) *Error {
	e := replyError(mail.StageAuth, "AUTH", r, "refused the password of "+c.Username, "set SMTP_USERNAME and SMTP_PASSWORD")
	if r.code/100 != 5 {
		// 454 (RFC 4954 section 4.7.2) and the like are the relay's own trouble.
		e.Problem, e.Hint = "cannot check the password now", "check the relay's log"
	}
	return e
}

// wantsCredentials are the codes that blame the account and not the message, at
// whatever stage (RFC 4954 section 6).
func wantsCredentials(code int) bool {
	return code == 530 || code == 534 || code == 535 || code == 538
}

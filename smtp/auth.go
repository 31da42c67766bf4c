package smtp

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/mail"
)

// mechanisms are those we know, the first choice first: PLAIN (RFC 4616) and LOGIN.
var mechanisms = []string{"PLAIN", "LOGIN"}

// authenticate logs in with the first mechanism that both sides know, and with the next
// if the relay does not do that one after all. It sends a password in clear text only if
// the configuration asks for that.
func (w *wire) authenticate(c Config, x extensions) *Error {
	if !w.secure() && !c.AuthWithoutTLS {
		return newError(mail.StageAuth, alarming, "offers no TLS, and the password is not sent in clear text",
			"use a relay with STARTTLS, or set SMTP_AUTH_WITHOUT_TLS=true")
	}
	var first *Error
	for _, mechanism := range c.mechanisms() {
		if !slices.Contains(x.auth, mechanism) {
			continue
		}
		e := w.login(c, x, mechanism)
		if e == nil {
			return nil
		}
		if first == nil || e.Code != 0 && !wantsCredentials(first.Code) {
			first = e
		}
		if !slices.Contains([]int{500, 502, 504, 534, 535}, e.Code) {
			break
		}
	}
	if first == nil {
		return noMechanism(c, x)
	}
	return first
}

// mechanisms are those that may be used.
func (c Config) mechanisms() []string {
	if c.Auth != "" {
		return []string{strings.ToUpper(c.Auth)}
	}
	return mechanisms
}

func noMechanism(c Config, x extensions) *Error {
	problem := "offers neither AUTH PLAIN nor AUTH LOGIN, and SMTP_USERNAME is set"
	if len(x.auth) > 0 {
		problem = "offers neither AUTH PLAIN nor AUTH LOGIN, but " + offered(x) + ", and SMTP_USERNAME is set"
	}
	if c.Auth != "" {
		problem = "does not offer AUTH " + strings.ToUpper(c.Auth) + ", which SMTP_AUTH names, but " + offered(x)
	}
	return newError(mail.StageAuth, alarming, problem, "use its submission port in SMTP_URL, or unset SMTP_USERNAME and SMTP_PASSWORD")
}

// offered names the mechanisms that the relay offers.
func offered(x extensions) string {
	if len(x.auth) == 0 {
		return "none"
	}
	return mail.Sentence(strings.Join(x.auth, " "), 80)
}

// login sends AUTH once. A relay that answers the initial response of PLAIN with a
// challenge is told it again.
func (w *wire) login(c Config, x extensions, mechanism string) *Error {
	user, password := c.Username, string(c.Password)
	first, rest := "", []string{user, password}
	if mechanism == "PLAIN" {
		first = "\x00" + user + "\x00" + password
		rest = []string{first}
	}
	return w.converse(c, x, mechanism, first, rest...)
}

// converse sends AUTH, with first as initial response unless it is empty, and
// answers each challenge with the next of rest (RFC 4954 section 4).
func (w *wire) converse(c Config, x extensions, mechanism, first string, rest ...string) *Error {
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
		return authError(c, x, mechanism, r)
	}
}

func authError(c Config, x extensions, mechanism string, r reply) *Error {
	e := replyError(mail.StageAuth, "AUTH", r, "refused the password of "+c.Username, c.correct())
	e.reread = c.PasswordFile != ""
	switch {
	case slices.Contains([]int{500, 502, 504, 534}, r.code):
		e.Problem, e.Hint = "refused AUTH "+mechanism+" (it offers "+offered(x)+")", "set SMTP_AUTH to what it accepts, or "+c.correct()
	case r.code/100 != 5:
		// 454 (RFC 4954 section 4.7.2) and the like are the relay's own trouble.
		e.Problem, e.Hint = "cannot check the password now", "check the relay's log"
	}
	return e
}

// correct says what to do about credentials that the relay does not accept. A password
// from a file is read again for each session.
func (c Config) correct() string {
	if c.PasswordFile == "" {
		return "set SMTP_USERNAME and SMTP_PASSWORD"
	}
	return "correct the file of SMTP_PASSWORD_FILE, or SMTP_USERNAME: a changed file is tried within " + check.Duration(c.PauseMax)
}

// wantsCredentials are the codes that blame the account and not the message, at
// whatever stage (RFC 4954 section 6).
func wantsCredentials(code int) bool {
	return code == 530 || code == 534 || code == 535 || code == 538
}

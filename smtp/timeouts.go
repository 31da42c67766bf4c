package smtp

import (
	"time"

	"github.com/postrider/postrider/mail"
)

// Timeouts bound the steps of the dialogue (RFC 5321 section 4.5.3.2).
type Timeouts struct {
	Connect time.Duration `env:"SMTP_TIMEOUT_CONNECT" help:"Time to resolve the relay's name, connect, make the TLS handshake and be greeted; STARTTLS has as much again."`
	Command time.Duration `env:"SMTP_TIMEOUT_COMMAND" help:"Time for the reply to each EHLO, AUTH, MAIL and RCPT."`
	Data    time.Duration `env:"SMTP_TIMEOUT_DATA" help:"Time for the reply to DATA, and for sending each block of the body."`
	Dot     time.Duration `env:"SMTP_TIMEOUT_DOT" help:"Time for the reply to the final dot; a short one makes duplicates."`
}

// byName maps each timeout to its variable.
func (t *Timeouts) byName() map[string]*time.Duration {
	return map[string]*time.Duration{
		"SMTP_TIMEOUT_CONNECT": &t.Connect, "SMTP_TIMEOUT_COMMAND": &t.Command,
		"SMTP_TIMEOUT_DATA": &t.Data, "SMTP_TIMEOUT_DOT": &t.Dot,
	}
}

// Within caps each timeout.
func (t Timeouts) Within(most time.Duration) Timeouts {
	for _, d := range t.byName() {
		*d = min(*d, most)
	}
	return t
}

// of is how long the reply to a command of the envelope may take.
func (t Timeouts) of(stage mail.Stage) time.Duration {
	if stage == mail.StageData {
		return t.Data
	}
	return t.Command
}

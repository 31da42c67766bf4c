package env

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestUnknown(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"SMTP_HOST=mail.example": "SMTP_URL", "SMTP_PORT=587": "SMTP_URL", "SMTP_USER=app": "SMTP_USERNAME", "SMTP_PASSWORT=x": "SMTP_PASSWORD",
		"SMTP_SESSIONS=5": "SMTP_MAX_SESSIONS", "POSTRIDER_DATADIR=/x": "POSTRIDER_DATA_DIR", "POSTRIDER_LOGLEVEL=debug": "POSTRIDER_LOG_LEVEL",
		"POSTRIDER_ADMIN_ADDR=:1": "POSTRIDER_ADMIN", "NATS_URLS=x": "NATS_URL", "NATS_URL_FILE=x": "NATS_URL", "POSTRIDER_LANE=x": "POSTRIDER_LANES",
		"POSTRIDER_RETRY=1m": "POSTRIDER_RETRY_AFTER", "POSTRIDER_MAX_SESSIONS=5": "SMTP_MAX_SESSIONS", "NATS_PORT=4222": "NATS_LISTEN or NATS_URL",
		"NATS_USERNAME=x": "NATS_USER", "SMTP_CA=x": "SMTP_CA_FILE", "NATS_TOKN=x": "NATS_TOKEN", "SMTP_URI=x": "SMTP_URL", "POSTRIDER_REPLICA=1": "POSTRIDER_REPLICAS",
		"SMTP_TIMEOUT_TLS=1m": "SMTP_TIMEOUT_CONNECT", "SMTP_TIMEOUT_GREETING=1m": "SMTP_TIMEOUT_CONNECT",
		"SMTP_TIMEOUT_EHLO=1m": "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_AUTH=1m": "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_MAIL=1m": "SMTP_TIMEOUT_COMMAND",
		"SMTP_TIMEOUT_RCPT=1m": "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_BLOCK=1m": "SMTP_TIMEOUT_DATA",
	} {
		name, _, _ := strings.Cut(v, "=")
		errs := Unknown([]string{v})
		if len(errs) != 1 || errs[0].Error() != name+": unknown setting; use "+want+", or unset it" {
			t.Errorf("%s: %v, want %s", v, errs, want)
		}
	}
}

// TestNothingNear: a far-fetched hint is worse than none.
func TestNothingNear(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"POSTRIDER_TEST_FULL", "POSTRIDER_DB", "POSTRIDER_DATABASE", "SMTP_", "POSTRIDER_COLOR", "NATS_BACKEND"} {
		if errs := Unknown([]string{name + "=x"}); len(errs) != 1 || errs[0].Error() != name+": unknown setting; postrider config lists them" {
			t.Errorf("%v", errs)
		}
	}
}

func TestNotUnknown(t *testing.T) {
	t.Parallel()
	environ := []string{
		"PATH=/bin", "SMTPX=1", "MYSMTP_HOST=1", "SMTP_HOST=", "SMTP_URL=smtp://x", "NATS_TOKEN_FILE=/x",
		"NATS_SERVICE_HOST=10.0.0.1", "NATS_SERVICE_PORT=4222", "NATS_SERVICE_PORT_CLIENT=4222", "NATS_PORT=tcp://10.0.0.1:4222",
		"NATS_PORT_4222_TCP=tcp://10.0.0.1:4222", "NATS_PORT_4222_TCP_ADDR=10.0.0.1", "SMTP_PORT=tcp://10.0.0.1:25", "POSTRIDER_ADMIN_SERVICE_HOST=10.0.0.2",
	}
	if errs := Unknown(environ); len(errs) > 0 {
		t.Errorf("%v", errors.Join(errs...))
	}
	var out bytes.Buffer
	if Warn(&out, "publish", append(environ, "SMTP_HOST=x")); out.String() != "publish: warning: SMTP_HOST: unknown setting; use SMTP_URL, or unset it\n" {
		t.Errorf("%q", out.String())
	}
}

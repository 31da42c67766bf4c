package env

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// prefixes are those of our settings.
var prefixes = []string{"NATS_", "SMTP_", "POSTRIDER_"}

// known are the settings of all programs. Programs that read few of them know
// all, so that they can run beside a worker with its environment. TestKnown
// compares the list with the structs.
var known = []string{
	"NATS_URL", "NATS_CREDS", "NATS_NKEY", "NATS_USER", "NATS_PASSWORD", "NATS_PASSWORD_FILE", "NATS_TOKEN", "NATS_TOKEN_FILE",
	"NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_LISTEN",

	"SMTP_URL", "SMTP_USERNAME", "SMTP_PASSWORD", "SMTP_PASSWORD_FILE", "SMTP_CA_FILE", "SMTP_AUTH", "SMTP_AUTH_WITHOUT_TLS",
	"SMTP_DISCARD_EHLO", "SMTP_EHLO_NAME", "SMTP_EIGHTBIT",
	"SMTP_MAX_SESSIONS", "SMTP_MESSAGES_PER_SESSION", "SMTP_SESSION_AGE", "SMTP_SESSION_IDLE", "SMTP_RECIPIENTS_PER_TRANSACTION",
	"SMTP_PAUSE_MIN", "SMTP_PAUSE_MAX", "SMTP_TIMEOUT_CONNECT", "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_DATA", "SMTP_TIMEOUT_DOT",

	"POSTRIDER_DATA_DIR", "POSTRIDER_REPLICAS", "POSTRIDER_PROVISION", "POSTRIDER_ACK_WAIT", "POSTRIDER_LANES", "POSTRIDER_DRAIN",
	"POSTRIDER_SWEEP_INTERVAL", "POSTRIDER_MAX_ATTEMPTS", "POSTRIDER_RETRY_AFTER", "POSTRIDER_MAX_AGE", "POSTRIDER_MAX_REPLAYS",
	"POSTRIDER_RELAYS", "POSTRIDER_ADMIN", "POSTRIDER_LOG_FORMAT", "POSTRIDER_LOG_LEVEL", "POSTRIDER_LOG_MAIL",
}

// others are names that other mail programs use, or development builds of this one
// did, too far from ours for a comparison of letters.
var others = map[string]string{
	"SMTP_HOST": "SMTP_URL", "SMTP_HOSTNAME": "SMTP_URL", "SMTP_SERVER": "SMTP_URL", "SMTP_ADDRESS": "SMTP_URL", "SMTP_PORT": "SMTP_URL", "SMTP_TLS": "SMTP_URL",
	"SMTP_USER": "SMTP_USERNAME", "SMTP_PASS": "SMTP_PASSWORD", "SMTP_HELO": "SMTP_EHLO_NAME", "NATS_PASS": "NATS_PASSWORD", "NATS_SERVER": "NATS_URL",
	"NATS_HOST": "NATS_URL", "NATS_PORT": "NATS_LISTEN or NATS_URL", "SMTP_CA": "SMTP_CA_FILE",

	"SMTP_TIMEOUT_TLS": "SMTP_TIMEOUT_CONNECT", "SMTP_TIMEOUT_GREETING": "SMTP_TIMEOUT_CONNECT",
	"SMTP_TIMEOUT_EHLO": "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_AUTH": "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_MAIL": "SMTP_TIMEOUT_COMMAND",
	"SMTP_TIMEOUT_RCPT": "SMTP_TIMEOUT_COMMAND", "SMTP_TIMEOUT_BLOCK": "SMTP_TIMEOUT_DATA",
}

// Unknown has an error for each variable that has a prefix of our settings and
// is none of them. It names the nearest one, if one is near. environ is as of [os.Environ].
func Unknown(environ []string) []error {
	var errs []error
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if value == "" || !ours(name) || slices.Contains(known, name) || injected(name, value) {
			continue
		}
		if near := nearest(name); near != "" {
			errs = append(errs, fmt.Errorf("%s: unknown setting; use %s, or unset it", name, near))
		} else {
			errs = append(errs, fmt.Errorf("%s: unknown setting; postrider config lists them", name))
		}
	}
	return errs
}

// Warn writes what [Unknown] finds to stderr, for programs that run inside
// applications, whose environment may hold anything.
func Warn(stderr io.Writer, program string, environ []string) {
	for _, err := range Unknown(environ) {
		fmt.Fprintf(stderr, "%s: warning: %s\n", program, err)
	}
}

func ours(name string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// injected reports a variable that Kubernetes sets in each pod for a service
// named nats, smtp or postrider. SMTP_PORT=587 is not: Kubernetes would write a
// URL.
func injected(name, value string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// nearest is the setting that was probably meant; empty if none is near. What it
// has in common with a setting counts in this order: its end, its beginning, all
// behind another prefix, and all but a few letters.
func nearest(name string) string {
	if s, ok := others[name]; ok {
		return s
	}
	prefix, rest, _ := strings.Cut(name, "_")
	if rest == "" {
		return ""
	}
	begins, most := "", 2 // letters; fewer are chance
	typo, least := "", max(1, len(rest)/3)+1
	for _, k := range known {
		own, ok := strings.CutPrefix(k, prefix+"_")
		if !ok {
			continue
		}
		if n := common(rest, own); n > most && 4*n >= 3*min(len(rest), len(own)) {
			begins, most = k, n
		}
		if d := distance(rest, own); d < least {
			typo, least = k, d
		}
	}
	ends := knownBy(func(k string) bool { return strings.HasPrefix(k, prefix) && strings.HasSuffix(k, "_"+rest) })
	elsewhere := knownBy(func(k string) bool { _, r, _ := strings.Cut(k, "_"); return r == rest })
	return cmp.Or(ends, begins, elsewhere, typo)
}

// knownBy is the first setting of which is is true; empty for none.
func knownBy(is func(name string) bool) string {
	if i := slices.IndexFunc(known, is); i >= 0 {
		return known[i]
	}
	return ""
}

// common is how many letters a and b begin with in common.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// distance is Levenshtein's: how many letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

package mail

import (
	"log/slog"
	"os"
	"strings"
)

// Secret is a password, token or key. If it is printed, logged or marshalled, it
// shows only whether it is set. Convert it to a string to use it.
type Secret string

const redacted = "REDACTED"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ReadSecret reads the secret that a file holds, without the line's end.
func ReadSecret(file string) (Secret, error) {
	b, err := os.ReadFile(file)
	return Secret(strings.TrimRight(string(b), "\r\n")), err
}

// Reread is what the secret's file holds now: s itself if it came from no file, or if
// the file is gone or empty, as it may be while somebody replaces it.
func (s Secret) Reread(file string) Secret {
	if file == "" {
		return s
	}
	if now, err := ReadSecret(file); err == nil && now != "" {
		return now
	}
	return s
}

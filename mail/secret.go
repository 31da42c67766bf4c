package mail

import "log/slog"

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

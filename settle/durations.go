package settle

import (
	"errors"
	"strings"
	"time"
)

// Durations is written "1m,5m,1h".
type Durations []time.Duration

// UnmarshalText reads the durations.
func (d *Durations) UnmarshalText(b []byte) error {
	*d = nil
	for part := range strings.SplitSeq(string(b), ",") {
		v, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return errors.New("is not a list of durations like 1m,5m,1h")
		}
		*d = append(*d, v)
	}
	return nil
}

// MarshalText writes the durations.
func (d Durations) MarshalText() ([]byte, error) {
	parts := make([]string, len(d))
	for i, v := range d {
		parts[i] = v.String()
	}
	return []byte(strings.Join(parts, ",")), nil
}

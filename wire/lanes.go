package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// Weighted is a lane and its share of the sessions when all are busy.
type Weighted struct {
	Lane   Lane
	Weight int
}

// Lanes is written "urgent=6,normal=3,bulk=1".
type Lanes []Weighted

// Names are the lanes in the order written.
func (l Lanes) Names() []Lane {
	names := make([]Lane, len(l))
	for i, w := range l {
		names[i] = w.Lane
	}
	return names
}

// UnmarshalText reads names and weights. A name alone has weight 1.
func (l *Lanes) UnmarshalText(b []byte) error {
	*l = nil
	seen := make(map[Lane]bool)
	for part := range strings.SplitSeq(string(b), ",") {
		name, weight, weighted := strings.Cut(strings.TrimSpace(part), "=")
		w := Weighted{Lane: Lane(name), Weight: 1}
		if err := w.Lane.Validate(); err != nil {
			return err
		}
		if weighted {
			var err error
			if w.Weight, err = strconv.Atoi(weight); err != nil || w.Weight < 1 || w.Weight > 1000 {
				return fmt.Errorf("lane %s: weight %q must be 1 to 1000", name, weight)
			}
		}
		if seen[w.Lane] {
			return fmt.Errorf("lane %s is named twice", name)
		}
		seen[w.Lane] = true
		*l = append(*l, w)
	}
	return nil
}

// MarshalText writes names and weights.
func (l Lanes) MarshalText() ([]byte, error) {
	parts := make([]string, len(l))
	for i, w := range l {
		parts[i] = fmt.Sprintf("%s=%d", w.Lane, w.Weight)
	}
	return []byte(strings.Join(parts, ",")), nil
}

package wire

import (
	"strings"
	"time"

	"github.com/postrider/postrider/schema"
)

// Headers of the broker that make a message a schedule.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
)

// Schedule makes the message with these headers one that fires into the due
// subject of its key at that time. The time is written with nanoseconds:
// whole seconds would fire up to one second early.
func Schedule(header map[string][]string, at time.Time, k Key) {
	header[headerSchedule] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
	header[headerScheduleTarget] = []string{k.CopySubject(CopyDue)}
}

// Reschedule is the headers with which a schedule of that key is published again: those
// of the broker are set anew.
func Reschedule(header map[string][]string, k Key, at time.Time) map[string][]string {
	h := make(map[string][]string, len(header))
	for name, values := range header {
		if !strings.HasPrefix(name, schema.NATSPrefix) {
			h[name] = values
		}
	}
	Schedule(h, at, k)
	return h
}

// ScheduledAt is when a schedule with these headers fires; false if it is not a
// schedule of ours.
func ScheduledAt(header map[string][]string) (time.Time, bool) {
	s, ok := strings.CutPrefix(first(header[headerSchedule]), "@at ")
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}

package schema

import "time"

// Headers of the broker that make a message a schedule.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
)

// Schedule makes the message with these headers one that fires into the due
// subject of its line at that time. The time is written with nanoseconds:
// whole seconds would fire up to one second early.
func Schedule(header map[string][]string, at time.Time, l Line) {
	header[headerSchedule] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
	header[headerScheduleTarget] = []string{l.DueSubject()}
}

// Package wire has what Postrider itself stores at the broker: keys and
// generations, records, copies, dead letters and their tombstones, schedules; and
// the names of streams, consumers, subjects and headers. [Lane.Sources] is the
// topology of a lane.
//
// It has shapes and names only: it reads and writes nothing.
package wire

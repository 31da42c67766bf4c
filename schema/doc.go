// Package schema holds every shape that Postrider serialises: the envelope an
// application publishes, the outcome of a transaction, the record of a line,
// the copy and the dead letter, and the names they bear on the wire.
//
// It knows neither NATS nor SMTP and does no input or output. docs/wire.md
// describes the same names for programs that are not written in Go.
package schema

// Package schema is the envelope as producers publish it, in its two forms, JSON
// and message/rfc822: its fields, [Decode] and [Envelope.Encode], the rules of
// [Envelope.Validate], and the JSON Schema.
//
// It has the headers that producers set. What Postrider itself stores is in
// package wire. It knows neither NATS nor SMTP and does no input or output;
// docs/envelope.md describes the same for other languages.
package schema

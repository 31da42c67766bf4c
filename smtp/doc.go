// Package smtp sends messages to one relay over pooled sessions and reports the
// outcome of each recipient.
//
// [New] makes a [Relay]; [Relay.Deliver] is one transaction. A Relay keeps at
// most SMTP_MAX_SESSIONS sessions, uses each for many messages, and puts a
// deadline on every read and write. Deliver returns no error: what goes wrong is
// in the outcomes, whose classes are decided in one place, verdict.go. What is
// wrong with the relay itself is an [Error].
//
// If the relay itself is at fault, its circuit opens: Deliver then answers at
// once that nothing was tried, and one goroutine opens a session now and then to
// see whether the relay is back. [Relay.Up] reports this state, and [Relay.Wait]
// waits for its end. [Relay.Look] finds out before there is mail.
//
// A relay that gives one message after the other the same permanent reply is at fault too.
// If all were of one sender, only the mail of that sender is put off: refusals.go decides,
// likeness.go says what is the same reply, and holds.go applies it.
//
// A Relay shares nothing with another: whoever has several relays makes several.
//
// What the package does not do: it never retries a message (only a session that
// is found dead before DATA is replaced, once, which no relay can tell from a
// first try); it never waits for anything but a free session; it never falls
// back to clear text; it does not look up MX records. It knows neither NATS nor
// envelopes.
package smtp

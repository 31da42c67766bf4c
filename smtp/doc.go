// Package smtp hands messages to one relay over pooled sessions and says what
// became of each recipient.
//
// [New] makes a [Relay], [Relay.Deliver] is one transaction. A Relay keeps at
// most MAX_SESSIONS sessions, uses each for many messages, and puts a deadline
// on every read and write. What goes wrong is never an error of Deliver: it
// stands in the outcomes, whose classes are decided in one place, verdict.go.
//
// When the relay itself is at fault its circuit opens: Deliver then answers at
// once that nothing was tried, and one goroutine opens a session now and then
// to see whether the relay is back. Callers wait with [Relay.Wait].
//
// What it does not do: it never retries a message (a session that turns out to
// be dead before DATA is replaced once, which no relay can tell from a first
// try), never waits on behalf of a message except for a free session, never
// falls back to clear text, and chooses no relay by MX records. It knows
// neither NATS nor the form a message has before it is composed.
package smtp

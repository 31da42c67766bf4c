package wire

import "github.com/postrider/postrider/schema"

// Headers of Postrider's own. They count only on subjects that producers
// cannot publish to; on a fresh message they make a bad envelope.
const (
	HeaderID         = "Postrider-Id"
	HeaderOrigin     = "Postrider-Origin"
	HeaderRecipient  = "Postrider-Recipient"
	HeaderGeneration = "Postrider-Generation"
	HeaderAttempts   = "Postrider-Attempts"
	HeaderEnqueued   = "Postrider-Enqueued"
	HeaderLog        = "Postrider-Log"
	HeaderDeadSeq    = "Postrider-Dead-Seq"
	// HeaderReplayed is the time of the last replay, RFC 3339: the budget of
	// attempts and age begins there.
	HeaderReplayed = "Postrider-Replayed"
	// HeaderReplays counts the replays of a key.
	HeaderReplays   = "Postrider-Replays"
	HeaderReason    = "Postrider-Reason"
	HeaderError     = "Postrider-Error"
	HeaderTombstone = "Postrider-Tombstone"
	// HeaderBody says where a dead letter's producer's headers are, if not
	// beside ours: [BodyWithHeaders] or [BodyHeadersLost].
	HeaderBody = "Postrider-Body"
)

// The values of [HeaderBody].
const (
	// BodyWithHeaders: the body begins with the producer's headers.
	BodyWithHeaders = "headers"
	// BodyHeadersLost: they could not be read, and are nowhere.
	BodyHeadersLost = "headers-lost"
)

// UnreadableHeaders stand for the headers of a stored message that cannot be
// read. They make a bad envelope: without headers the message might be taken for
// one that may be sent.
func UnreadableHeaders(err error) map[string][]string {
	return map[string][]string{schema.HeaderUnreadable: {err.Error()}}
}

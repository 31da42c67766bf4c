package mail

// Reason says why a message is dead.
type Reason string

// The reasons.
const (
	ReasonFailed      Reason = "failed"
	ReasonExhausted   Reason = "exhausted"
	ReasonExpired     Reason = "expired"
	ReasonBadEnvelope Reason = "bad-envelope"
	ReasonTooLarge    Reason = "too-large"
	ReasonLoop        Reason = "loop"
	ReasonCrashLoop   Reason = "crash-loop"
	ReasonStranded    Reason = "stranded"
)

// Reasons lists them all.
var Reasons = []Reason{
	ReasonFailed, ReasonExhausted, ReasonExpired, ReasonBadEnvelope,
	ReasonTooLarge, ReasonLoop, ReasonCrashLoop, ReasonStranded,
}

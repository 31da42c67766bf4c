package stream

import "errors"

// What a read or write at the broker can fail by, for those who have to decide
// on it without knowing the broker. Test with errors.Is.
var (
	// ErrFull: there is no room. Trying again helps once there is some.
	ErrFull = errors.New("the broker has no room left")
	// ErrTooLarge: the message exceeds a limit. Trying it again never helps.
	ErrTooLarge = errors.New("the message is too large for the broker")
	// ErrAway: no answer came, so whether the write was done is not known.
	ErrAway = errors.New("the broker does not answer")
	// ErrNotFound: no message matches.
	ErrNotFound = errors.New("no such message")
	// ErrConflict: another write came first.
	ErrConflict = errors.New("another write came first")
)

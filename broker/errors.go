package broker

import "errors"

// What can fail besides the reads and writes of package stream, whose errors
// the functions here return too. Test with errors.Is.
var (
	// ErrForeign: a stream or consumer of our name is not ours.
	ErrForeign = errors.New("made by something other than Postrider")
	// ErrMissing: a stream or consumer that should be there is not.
	ErrMissing = errors.New("it is missing")
	// ErrOldServer: the server lacks what Postrider is built on.
	ErrOldServer = errors.New("the NATS server is too old")
)

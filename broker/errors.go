package broker

import "errors"

// What can fail besides the reads and writes of package stream, whose errors
// the functions here return too. Test with errors.Is.
var (
	// ErrForeign: a stream or consumer of our name is not ours.
	ErrForeign = errors.New("made by something other than Postrider")
	// ErrMissing: a stream or consumer that should be there is not.
	ErrMissing = errors.New("it is missing")
	// ErrRefused: the server refuses the credentials, or requires some.
	ErrRefused = errors.New("not authorized")
	// ErrOldServer: the server lacks what Postrider is built on.
	ErrOldServer = errors.New("the NATS server is too old")
)

// errDevelopment is [ErrForeign] for a stream of a development build: Postrider
// made it, so the text of ErrForeign would be wrong.
var errDevelopment error = foreign("made by a development build of Postrider, whose mail this version cannot read; settle its mail with that build and remove its streams, or use another POSTRIDER_DATA_DIR or NATS account")

// foreign is an ErrForeign with a text of its own.
type foreign string

func (e foreign) Error() string { return string(e) }

// Is reports that it is ErrForeign.
func (foreign) Is(target error) bool { return target == ErrForeign }

package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
)

// What a write or a read at the broker can fail by. Test with errors.Is; the
// error's text has the details.
var (
	// ErrFull: the stream, the account or the disk has no room. Trying again
	// helps once there is some.
	ErrFull = stream.ErrFull
	// ErrTooLarge: the message or its headers exceed a limit. Trying the same
	// message again never helps.
	ErrTooLarge = stream.ErrTooLarge
	// ErrAway: no answer came, so whether the write was done is not known.
	ErrAway = stream.ErrAway
	// ErrNoLane: no stream takes messages of the lane.
	ErrNoLane = errors.New("no such lane")
	// ErrNotFound: no message matches.
	ErrNotFound = stream.ErrNotFound
)

// What stands in the way of starting. None of them passes by itself.
var (
	// ErrPortTaken: NATS_LISTEN names an address that is in use.
	ErrPortTaken = errors.New("the address is taken")
	// ErrDirInUse: another process has locked DATA_DIR.
	ErrDirInUse = errors.New("the directory is in use")
	// ErrForeign: a stream or consumer of our name is not ours.
	ErrForeign = errors.New("made by something other than Postrider")
	// ErrMissing: a stream or consumer that should be there is not.
	ErrMissing = errors.New("it is missing")
	// ErrOldServer: the server lacks what Postrider is built on.
	ErrOldServer = errors.New("the NATS server is too old")
)

// errSequence: the expected sequence was not the last one.
var errSequence = stream.ErrConflict

// Error codes of JetStream's API (nats-server, server/errors.json).
const (
	codeAccountFull     = 10002
	codeUnavailable     = 10008
	codeInsufficient    = 10023
	codeNotFound        = 10037
	codeStorageFull     = 10047
	codeTooLarge        = 10054
	codeSequence        = 10071
	codeStoreFailed     = 10077 // "maximum bytes exceeded", "no space left on device"
	codeHeaderTooLarge  = 10097
	codeSequenceReplica = 10164 // 10071 as replicas say it
)

// apiError is JetStream's refusal, as it stands in its answers.
type apiError struct {
	Status      int    `json:"code"`
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

// class is the sentinel that says what a caller can do about the refusal; nil
// where only a person can do something.
func (e *apiError) class() error {
	switch e.Code {
	case codeAccountFull, codeInsufficient, codeStorageFull, codeStoreFailed:
		return ErrFull
	case codeTooLarge, codeHeaderTooLarge:
		return ErrTooLarge
	case codeSequence, codeSequenceReplica:
		return errSequence
	case codeNotFound:
		return ErrNotFound
	case codeUnavailable:
		return ErrAway
	}
	return nil
}

// Error is the server's own words, and the class before them.
func (e *apiError) Error() string {
	if c := e.class(); c != nil {
		return fmt.Sprintf("%v: %s (error %d)", c, e.Description, e.Code)
	}
	return fmt.Sprintf("the broker refused: %s (error %d)", e.Description, e.Code)
}

// Unwrap lets errors.Is see the class.
func (e *apiError) Unwrap() error { return e.class() }

// lost says why a request got no answer from the broker.
func lost(err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, nats.ErrBadHeaderMsg), errors.Is(err, nats.ErrBadSubject):
		// It was not sent, and never will be.
		return fmt.Errorf("a header or the subject cannot be written: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w in time: %w", ErrAway, err)
	}
	// No responders, disconnected, closed, draining, canceled: whatever it
	// was, nothing is known of the write.
	return fmt.Errorf("%w: %w", ErrAway, err)
}

package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a read or a write can fail by. Test with errors.Is; the error's text has
// the details.
var (
	// ErrFull: the stream, the account or the disk has no room. Trying again
	// helps once there is room.
	ErrFull = errors.New("the broker has no room left")
	// ErrTooLarge: the message or its headers exceed a limit. Trying the same
	// message again never helps.
	ErrTooLarge = errors.New("the message is too large for the broker")
	// ErrAway: no answer came. It is not known whether the write was done.
	ErrAway = errors.New("the broker does not answer")
	// ErrNoLeader is an ErrAway: too few servers of the cluster run, or they elect.
	ErrNoLeader = fmt.Errorf("%w: its NATS cluster has no leader or quorum", ErrAway)
	// ErrNotFound: no message matches.
	ErrNotFound = errors.New("no such message")
	// ErrNoStream, ErrNoConsumer: there is no stream or consumer of that name.
	ErrNoStream   = errors.New("no such stream")
	ErrNoConsumer = errors.New("no such consumer")
	// ErrNoJetStream: the server or this account has no JetStream.
	ErrNoJetStream = errors.New("JetStream is not enabled here")
	// ErrConflict: the expected sequence is not the last one, because another
	// write came first. Nothing was stored.
	ErrConflict = errors.New("another write came first")
	// ErrBatch: the broker refused a batch for a reason that does not concern
	// its messages, such as too many open batches. Nothing was stored. Write the
	// messages one by one.
	ErrBatch = errors.New("the broker refused the batch")
)

// Error codes of JetStream's API (nats-server, server/errors.json).
const (
	// CodeNotForAccount: the account has no JetStream, though the server has.
	CodeNotForAccount = 10039

	codeAccountFull     = 10002
	codeUnavailable     = 10008 // the cluster has no leader
	codeNoConsumer      = 10014
	codeInsufficient    = 10023
	codeNotFound        = 10037
	codeStorageFull     = 10047
	codeTooLarge        = 10054
	codeNoStream        = 10059
	codeSequence        = 10071
	codeNotEnabled      = 10076
	codeStoreFailed     = 10077 // "maximum bytes exceeded", "no space left on device"
	codeHeaderTooLarge  = 10097
	codeInProcess       = 10158 // an earlier try waits for its quorum
	codeSequenceReplica = 10164 // how replicas say 10071, and how they refuse what is in flight
)

// APIError is a refusal by JetStream, as its answers have it.
type APIError struct {
	Status int `json:"code"`
	// Code is the number in server/errors.json.
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

// classOf is the sentinel that says what a caller can do about a refusal; nil
// if only a person can do something.
func classOf(code int) error {
	switch code {
	case codeAccountFull, codeInsufficient, codeStorageFull, codeStoreFailed:
		return ErrFull
	case codeTooLarge, codeHeaderTooLarge:
		return ErrTooLarge
	case codeSequence, codeSequenceReplica:
		return ErrConflict
	case codeNotFound:
		return ErrNotFound
	case codeNoStream:
		return ErrNoStream
	case codeNoConsumer:
		return ErrNoConsumer
	case CodeNotForAccount, codeNotEnabled:
		return ErrNoJetStream
	case codeUnavailable:
		return ErrNoLeader
	case codeInProcess:
		return ErrAway
	}
	return nil
}

// Error is the class, if there is one, and the server's own words.
func (e *APIError) Error() string {
	if c := classOf(e.Code); c != nil {
		return fmt.Sprintf("%v: %s (error %d)", c, e.Description, e.Code)
	}
	return fmt.Sprintf("the broker refused: %s (error %d)", e.Description, e.Code)
}

// Unwrap lets errors.Is see the class.
func (e *APIError) Unwrap() error { return classOf(e.Code) }

// Classify gives an error of nats.go or its jetstream package the class that it
// would have here. An error without a class, or with one already, is returned as
// it is.
func Classify(err error) error {
	for _, class := range []error{ErrFull, ErrTooLarge, ErrAway, ErrNotFound, ErrNoStream, ErrNoConsumer, ErrNoJetStream, ErrConflict} {
		if errors.Is(err, class) {
			return err
		}
	}
	if refusal, ok := errors.AsType[*jetstream.APIError](err); ok {
		if class := classOf(int(refusal.ErrorCode)); class != nil {
			return fmt.Errorf("%w: %w", class, err)
		}
		return err
	}
	for _, silence := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse,
		nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
	} {
		if errors.Is(err, silence) {
			return fmt.Errorf("%w: %w", ErrAway, err)
		}
	}
	return err
}

// unanswered says why a request got no answer.
func unanswered(err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, nats.ErrBadHeaderMsg), errors.Is(err, nats.ErrBadSubject):
		// It was not sent, and trying again cannot help.
		return fmt.Errorf("a header or the subject cannot be written: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w in time: %w", ErrAway, err)
	}
	// No responders, disconnected, closed, draining, canceled: in all these
	// cases the request may have been done.
	return fmt.Errorf("%w: %w", ErrAway, err)
}

package queue

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/stream"
)

// Explain adds to an error of this package, or of packages journal and deadletter,
// what it means for an operator: [stream.ErrAway] if no answer came, and what to do.
// own is the directory of the embedded broker, if it is reached with its own key.
func Explain(err error, own string) error {
	err = stream.Classify(err)
	switch {
	case own != "" && (errors.Is(err, stream.ErrNoJetStream) || errors.Is(err, stream.ErrAway)):
		return fmt.Errorf("%w: the store of the worker's embedded broker is closed or does not answer: see the worker's log; make room in %s if it is full", err, own)
	case errors.Is(err, stream.ErrNoLeader):
		return fmt.Errorf("%w: %s", err, StartServers)
	case errors.Is(err, stream.ErrNoStream), errors.Is(err, stream.ErrNoConsumer):
		return fmt.Errorf("%w: has a worker ever been started with this broker?", err)
	case errors.Is(err, stream.ErrNoJetStream):
		return fmt.Errorf("%w: the queue is read with the operator's credential: set POSTRIDER_DATA_DIR to the directory of the broker, or NATS_CREDS, NATS_NKEY or NATS_USER", err)
	}
	return err
}

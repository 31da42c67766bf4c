package queue

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/stream"
)

// Explain adds to an error of this package, or of packages journal and deadletter,
// what it means for an operator: [stream.ErrAway] if no answer came, and what to do.
func Explain(err error) error {
	err = stream.Classify(err)
	switch {
	case errors.Is(err, stream.ErrNoStream), errors.Is(err, stream.ErrNoConsumer):
		return fmt.Errorf("%w: has a worker ever been started with this broker?", err)
	case errors.Is(err, stream.ErrNoJetStream):
		return fmt.Errorf("%w: the queue is read with the operator's credential: set POSTRIDER_DATA_DIR to the directory of the broker, or NATS_CREDS, NATS_NKEY or NATS_USER", err)
	}
	return err
}

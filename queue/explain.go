package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

// Explain adds to an error of this package, or of packages journal and deadletter,
// what it means for an operator: [stream.ErrAway] if no answer came, and what to do.
func Explain(err error) error {
	switch {
	case err == nil, errors.Is(err, stream.ErrAway):
		return err
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("%w: has a worker ever been started with this broker?", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: the queue is read with the operator's credential: set POSTRIDER_DATA_DIR to the directory of the broker, or NATS_CREDS, NATS_NKEY or NATS_USER", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected):
		return fmt.Errorf("%w: %w", stream.ErrAway, err)
	}
	return err
}

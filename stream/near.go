package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Near is the store of a broker that has one replica of each stream, as the embedded one
// has. It reads the last message of a subject by a direct get, at a fraction of the cost.
// Of several replicas any one would answer, which may be behind.
func (s *Store) Near() *Store { return &Store{nc: s.nc, near: true} }

// lastNear is the last message on a subject by a direct get. It is nil without an error if
// the API has to be asked.
func lastNear(ctx context.Context, s *Store, stream, subject string) (*jetstream.RawStreamMsg, error) {
	if !s.near || strings.ContainsAny(subject, "*>") || !s.nc.IsConnected() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	m, err := s.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders): // the stream has no AllowDirect, or is not there
		return nil, nil
	case err != nil:
		return nil, unanswered(err)
	case m.Header.Get("Status") == "404" && len(m.Data) == 0:
		return nil, fmt.Errorf("%w: %s", ErrNotFound, m.Header.Get("Description"))
	}
	return decodeDirect(m), nil // nil if its headers cannot be read
}

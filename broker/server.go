package broker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
)

// Earlier servers lose messages of a replicated work queue at max-deliver, and
// those before 2.12 store a schedule as an ordinary message without an error.
const (
	minVersion  = "2.12.6"
	minAPILevel = 2
)

// checkServer refuses a server that is too old, by the version and the level of
// the JetStream API that it says.
func checkServer(version string, level int) error {
	have, ok := parseVersion(version)
	least, _ := parseVersion(minVersion)
	if !ok || slices.Compare(have, least) < 0 || level < minAPILevel {
		return fmt.Errorf("%w: it says version %s and JetStream API level %d, but Postrider needs version %s and level %d: upgrade it", ErrOldServer, version, level, minVersion, minAPILevel)
	}
	return nil
}

// parseVersion reads three numbers and ignores what follows a "-".
func parseVersion(s string) ([]int, bool) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "-")
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return nil, false
	}
	n := make([]int, 3)
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(p); err != nil {
			return nil, false
		}
	}
	return n, true
}

// noJetStream says what it means if the usage of the account cannot be read.
func noJetStream(err error) error {
	var refusal *stream.APIError
	switch {
	case errors.As(err, &refusal) && refusal.Code == stream.CodeNotForAccount:
		return fmt.Errorf("the NATS account has no JetStream: enable it for the account that the workers use: %w", err)
	case errors.Is(err, stream.ErrNoJetStream):
		return fmt.Errorf("the NATS server has no JetStream: enable it there: %w", err)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("nobody answers for JetStream: enable it on the NATS server, or wait until its cluster has a leader: %w", err)
	case leaderless(err):
		return fmt.Errorf("ask JetStream about the account: %w; it needs more than half of its servers", err)
	}
	return fmt.Errorf("ask JetStream about the account: %w; the user needs the permission to publish to $JS.API.INFO", err)
}

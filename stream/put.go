package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

const (
	// putRaces is how many other writes may come first. Each of them has stored
	// a lower generation; more than two or three never meet on one key.
	putRaces = 10
	// putSilences is how many requests may stay without an answer. With the time
	// that [answerTimeout] gives to each, they outlast an election.
	putSilences = 4
	// putPause is waited after a silence. Without a leader "no responders"
	// comes at once.
	putPause = 250 * time.Millisecond
	// racePause is waited after a race, and doubles with each. On replicas the
	// refusal may be for a write that cannot be read yet.
	racePause    = 5 * time.Millisecond
	maxRacePause = 500 * time.Millisecond
)

// Register is what [Put] works on: a [Store], or what a caller puts before it.
// Set is called for each try, so that it can refuse one.
type Register interface {
	Last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error)
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
}

// Put is [Put] on this store.
func (s *Store) Put(ctx context.Context, m *nats.Msg, filter string, expected uint64, generation int) (seq uint64, already bool, err error) {
	return Put(ctx, s, m, filter, expected, generation)
}

// Put publishes m as the one message that its key has there, a copy or a dead
// letter, at that generation. expected is the sequence that the last message on
// filter is believed to have; 0 stands for none. An empty filter is m's subject.
// The stream follows from the subject. m is not changed.
//
// If another write came first or the answer is lost, Put reads what is there. A
// message of the same or a higher generation means that the work is done: its
// sequence is returned, and already is set. A message of a lower generation is
// replaced. So doing it again changes nothing.
//
// It fails with [ErrFull] or [ErrTooLarge], with [ErrAway] if it gives up after
// ten races or four silences, and with any other error of s.
func Put(ctx context.Context, s Register, m *nats.Msg, filter string, expected uint64, generation int) (seq uint64, already bool, err error) {
	stream, err := Of(m.Subject)
	if err != nil {
		return 0, false, fmt.Errorf("put %s: %w", m.Subject, err)
	}
	if filter == "" {
		filter = m.Subject
	}
	races, silences := 0, 0
	for {
		wait := putPause
		seq, cause := s.Set(ctx, m, filter, expected)
		switch {
		case cause == nil:
			return seq, false, nil
		case errors.Is(cause, ErrConflict):
			wait = min(racePause<<races, maxRacePause)
			races++
		case errors.Is(cause, ErrAway):
			silences++
		default:
			return 0, false, cause
		}
		// After a refusal or a silence only a read tells what is there.
		last, err := s.Last(ctx, stream, filter)
		switch {
		case errors.Is(err, ErrNotFound):
			expected = 0
		case errors.Is(err, ErrAway):
			silences++
		case err != nil:
			return 0, false, fmt.Errorf("put %s: %w", m.Subject, err)
		case generationOf(last.Header) >= generation:
			return last.Sequence, true, nil
		default:
			expected = last.Sequence
		}
		if races > putRaces || silences >= putSilences || !Pause(ctx, wait) {
			return 0, false, fmt.Errorf("put %s: %w: gave up after %d other writes and %d requests without an answer: %w", m.Subject, ErrAway, races, silences, cause)
		}
	}
}

// generationOf is the generation of a stored message; -1 if it has none.
func generationOf(h nats.Header) int {
	n, err := strconv.Atoi(h.Get(wire.HeaderGeneration))
	if err != nil {
		return -1
	}
	return n
}

// Of is the stream that takes a subject of ours.
func Of(subject string) (string, error) {
	t := strings.SplitN(subject, ".", 4)
	if len(t) >= 3 && t[0] == "mail" {
		switch t[1] {
		case "send", "copy":
			for _, s := range wire.Lane(t[2]).Sources() {
				if s.Takes(subject) {
					return s.Stream, nil
				}
			}
		case "record":
			return wire.StreamRecord, nil
		case "event":
			return wire.StreamEvent, nil
		case "dead":
			return wire.StreamDead, nil
		}
	}
	return "", fmt.Errorf("no stream of Postrider takes the subject %q", subject)
}

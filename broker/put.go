package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

const (
	// putRaces is how often others may come first. Each of them has then put a
	// lower hop; more than two or three never meet on a line.
	putRaces = 10
	// putSilences is how often no answer may come, in the time that
	// [answerTimeout] gives each enough to outlast an election.
	putSilences = 4
	// racePause doubles with each race. On replicas the refusal may be for a
	// write that cannot be read yet.
	racePause    = 5 * time.Millisecond
	maxRacePause = 500 * time.Millisecond
)

// Putter puts the one message that a line has somewhere: its copy, scheduled
// or due, or its dead letter. Putting it again changes nothing.
type Putter struct {
	c      *Conn
	permit func(context.Context) error
}

// Putter makes one. permit is asked before every try, also the first; its
// error ends the put. Nil permits all.
func (c *Conn) Putter(permit func(context.Context) error) *Putter {
	if permit == nil {
		permit = func(context.Context) error { return nil }
	}
	return &Putter{c: c, permit: permit}
}

// Put publishes m on its subject as the line's message at that hop, where the
// last message matching filter (empty: the subject itself) has the expected
// sequence, 0 meaning that there is none. The stream follows from the subject.
//
// If another write came first, or the answer is lost, it reads what is there:
// a message of the hop or a higher one is the work done already, and its
// sequence is returned with already set; one of a lower hop is replaced. m is
// not changed. Errors are [ErrFull], [ErrTooLarge], [ErrAway] or permit's.
func (p *Putter) Put(ctx context.Context, m *nats.Msg, filter string, expected uint64, generation int) (seq uint64, already bool, err error) {
	stream, err := streamOf(m.Subject)
	if err != nil {
		return 0, false, fmt.Errorf("put %s: %w", m.Subject, err)
	}
	if filter == "" {
		filter = m.Subject
	}
	races, silences := 0, 0
	for {
		if err := p.permit(ctx); err != nil {
			return 0, false, fmt.Errorf("put %s: %w", m.Subject, err)
		}
		wait := publishPause
		ack, cause := p.c.store(ctx, expecting(m, filter, expected))
		switch {
		case cause == nil:
			return ack.Sequence, false, nil
		case errors.Is(cause, errSequence):
			wait = min(racePause<<races, maxRacePause)
			races++
		case errors.Is(cause, ErrAway):
			silences++
		default:
			return 0, false, fmt.Errorf("put %s: %w", m.Subject, cause)
		}
		// Refused or unanswered: what is there is only known by reading it.
		last, err := p.c.Last(ctx, stream, filter)
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
		if races > putRaces || silences >= putSilences || !pause(ctx, wait) {
			return 0, false, fmt.Errorf("put %s: %w: gave up after %d other writes and %d requests without an answer: %w", m.Subject, ErrAway, races, silences, cause)
		}
	}
}

// expecting is m with the condition of compare-and-set.
func expecting(m *nats.Msg, filter string, expected uint64) *nats.Msg {
	out := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
	maps.Copy(out.Header, m.Header)
	out.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	out.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, filter)
	return out
}

// hopOf is the hop a stored message is at; -1 where it says none.
func generationOf(h nats.Header) int {
	n, err := strconv.Atoi(h.Get(wire.HeaderGeneration))
	if err != nil {
		return -1
	}
	return n
}

// streamOf is the stream that takes a subject of ours.
func streamOf(subject string) (string, error) {
	t := strings.SplitN(subject, ".", 4)
	if len(t) >= 3 && t[0] == "mail" {
		switch lane := wire.Lane(t[2]); t[1] {
		case "send":
			return lane.SendStream(), nil
		case "copy":
			return lane.LaterStream(), nil
		case "record":
			return wire.StreamRecord, nil
		case "event":
			return wire.StreamEvent, nil
		case "dead":
			return wire.StreamDead, nil
		}
	}
	return "", fmt.Errorf("%q is no subject of Postrider's", subject)
}

package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// electionTime is how long a lane may be without a leader. After that it is
	// taken not to exist.
	electionTime = 10 * time.Second
	// makingTime is that for the broker of a worker, which has no elections but may
	// be making its lanes.
	makingTime = 2 * time.Second
	// askFor bounds the question which lanes there are: producers may not ask it,
	// and then get no answer.
	askFor = 400 * time.Millisecond
)

// wait is the wait of one publish for an answer.
type wait struct {
	client  *Client
	lane    wire.Lane
	subject string
	began   time.Time
	tries   int
	// nobody: the last answer was that nothing takes the subject.
	nobody bool
	// say, if it is not nil, has not been told yet why the publish waits.
	say func(why error)
}

// after waits after a try without an answer. The error ends the publish.
func (w *wait) after(ctx context.Context, err error) error {
	// A try that ctx cut short says nothing new: keep what the last one said.
	w.nobody = errors.Is(err, nats.ErrNoResponders) || w.nobody && ctx.Err() != nil
	w.tries++
	if !w.nobody {
		w.tell(err)
		if !stream.Pause(ctx, retryPause) {
			return err
		}
		return nil
	}
	if w.tries == 2 { // the first may have met a lane that was just being made
		if lanes := w.client.lanes(ctx, w.subject); len(lanes) > 0 && !slices.Contains(lanes, string(w.lane)) {
			return w.noLane("; the broker has " + strings.Join(lanes, ", "))
		}
		w.tell(fmt.Errorf("no stream takes %s; waiting up to %s, in case its leader is being elected or a worker is making it", w.subject, w.patience()))
	}
	if time.Since(w.began) > w.patience() || !stream.Pause(ctx, retryPause) {
		return w.noLane("")
	}
	return nil
}

// tell tells why the publish goes on waiting, once.
func (w *wait) tell(why error) {
	if w.say != nil {
		w.say(why)
		w.say = nil
	}
}

// patience is how long a lane that nobody answers for is waited for. One that has
// taken mail from this client does exist.
func (w *wait) patience() time.Duration {
	if _, taken := w.client.taken.Load(w.subject); !taken && broker.IsEmbedded(w.client.nc.ConnectedServerName()) {
		return makingTime
	}
	return electionTime
}

// noLane is not [stream.ErrAway]: the mail is not stored, and publishing it again does
// not help.
func (w *wait) noLane(known string) error {
	if known == "" && broker.IsEmbedded(w.client.nc.ConnectedServerName()) {
		known = ", with the lane among them: its broker takes no mail for other lanes, even if postrider status lists them"
	}
	return fmt.Errorf("%w: no stream takes %s: check the name against POSTRIDER_LANES of the workers, and that a worker has been started%s", ErrNoLane, w.subject, known)
}

// lanes are those that have a stream at the broker, in this account. None says
// nothing: the account may have none of the streams, or may not ask.
func (c *Client) lanes(ctx context.Context, subject string) []string {
	if _, taken := c.taken.Load(subject); taken || c.mute.Load() || broker.IsEmbedded(c.nc.ConnectedServerName()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	const names = "STREAM.NAMES"
	b, err := c.store.API(ctx, names, []byte(`{"subject":"mail.send.>"}`))
	if c.forbidden("$JS.API." + names) {
		c.mute.Store(true)
	}
	var answer struct {
		Streams []string `json:"streams"`
	}
	if err != nil || json.Unmarshal(b, &answer) != nil {
		return nil
	}
	var lanes []string
	for _, name := range answer.Streams {
		if l, ok := wire.LaneOfStream(name); ok && !slices.Contains(lanes, string(l)) {
			lanes = append(lanes, string(l))
		}
	}
	slices.Sort(lanes)
	return lanes
}

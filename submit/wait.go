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
	// electionTime is how long a lane may be without a leader.
	electionTime = 10 * time.Second
	// makingTime is how long the broker of a worker, which has no elections, may take to
	// make its lanes. After that a lane that takes nothing does not exist.
	makingTime = 2 * time.Second
	// askFor bounds the question which lanes there are: producers may not ask it,
	// and then get no answer.
	askFor = 400 * time.Millisecond
)

// errUntaken: no stream takes the mail, and the broker does not say that it lacks the
// lane. It is [stream.ErrAway].
var errUntaken = fmt.Errorf("%w: no stream takes the mail", stream.ErrAway)

// wait is the wait of one publish for an answer.
type wait struct {
	client  *Client
	lane    wire.Lane
	subject string
	began   time.Time
	tries   int
	// nobody: the last answer was that nothing takes the subject.
	nobody bool
	// leaderless: the lane exists, or the broker says that its cluster has no leader.
	leaderless bool
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
	// The first try may have met a lane that was just being made. A cluster that has
	// just lost its quorum says so only after some seconds.
	over := time.Since(w.began) > w.patience()
	if w.tries == 2 || over {
		if err := w.ask(ctx); err != nil {
			return err
		}
		w.tell(fmt.Errorf("no stream takes %s; waiting up to %s, in case its leader is being elected or a worker is making it", w.subject, w.patience()))
	}
	if over || !stream.Pause(ctx, retryPause) {
		return w.untaken(over)
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

// patience is how long a lane that nobody answers for is waited for.
func (w *wait) patience() time.Duration {
	if w.ofWorker() {
		return makingTime
	}
	return electionTime
}

// ofWorker reports that the broker is part of a worker and may be making its lanes. One
// that has taken mail from this client does exist.
func (w *wait) ofWorker() bool {
	_, taken := w.client.taken.Load(w.subject)
	return !taken && broker.IsEmbedded(w.client.nc.ConnectedServerName())
}

// ask asks the broker which lanes it has. It fails if the lane is none of them.
func (w *wait) ask(ctx context.Context) error {
	if _, taken := w.client.taken.Load(w.subject); taken {
		w.leaderless = true
	}
	if w.leaderless || w.ofWorker() {
		return nil
	}
	lanes, err := w.client.lanes(ctx)
	switch {
	case slices.Contains(lanes, string(w.lane)), errors.Is(err, stream.ErrNoLeader):
		w.leaderless = true
	case len(lanes) > 0:
		return w.noLane("; the broker has " + strings.Join(lanes, ", "))
	}
	return nil
}

// checkName is what to do if a lane may not exist.
const checkName = "check the name against POSTRIDER_LANES of the workers, and that a worker has been started"

// noLane is not [stream.ErrAway]: the mail is not stored, and publishing it again does
// not help.
func (w *wait) noLane(known string) error {
	return fmt.Errorf("%w: no stream takes %s: %s%s", ErrNoLane, w.subject, checkName, known)
}

// untaken says why nothing took the mail. over: it was waited for long enough.
func (w *wait) untaken(over bool) error {
	switch {
	case w.leaderless:
		return fmt.Errorf("%w: the broker has no leader or quorum for %s; try again", errUntaken, w.subject)
	case over && w.ofWorker():
		return w.noLane(", with the lane among them: its broker takes no mail for other lanes, even if postrider status lists them")
	}
	return fmt.Errorf("%w: the lane of %s may not exist, or its NATS cluster has no leader or quorum; %s", errUntaken, w.subject, checkName)
}

// lanes are those that have a stream at the broker, in this account. None says
// nothing: the account may have none of the streams, or may not ask.
func (c *Client) lanes(ctx context.Context) ([]string, error) {
	if c.mute.Load() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	const names = "STREAM.NAMES"
	b, err := c.store.API(ctx, names, []byte(`{"subject":"mail.send.>"}`))
	if c.forbidden("$JS.API." + names) {
		c.mute.Store(true)
	}
	if err != nil {
		return nil, err
	}
	var answer struct {
		Streams []string `json:"streams"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, err
	}
	var lanes []string
	for _, name := range answer.Streams {
		if l, ok := wire.LaneOfStream(name); ok && !slices.Contains(lanes, string(l)) {
			lanes = append(lanes, string(l))
		}
	}
	slices.Sort(lanes)
	return lanes, nil
}

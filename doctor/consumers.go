package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// lookFor is how long it looks for a pull: a worker pauses between two of them.
	lookFor   = 3 * time.Second
	lookPause = 250 * time.Millisecond
	// lately is how long ago the last message was settled, if mail moves.
	lately = time.Minute
	// notAsked is what is said of a consumer that no worker asks for mail.
	notAsked = "no worker asks for its mail: "
)

// taken is how a consumer is used.
type taken struct {
	broker.ConsumerState
	// pulls is the most that waited for mail at any look.
	pulls int
	// spare: no worker with these POSTRIDER_LANES is for its lane.
	spare bool
	// settled: a worker settled something of the lane lately.
	settled bool
	// why says why workers ask for none, do what to do about it, and outage that it is their
	// relay, as far as they say it.
	why    string
	do     string
	outage bool
}

// consumers finds out whether workers ask for mail.
func (p *Patient) consumers(ctx context.Context, x *broker.Examination) []Finding {
	all := make([]taken, len(x.Consumers))
	workers := p.Queue.Workers(ctx)
	for i, c := range x.Consumers {
		all[i] = taken{ConsumerState: c, spare: len(p.Lanes) > 0 && !slices.Contains(p.Lanes, c.Lane)}
		if c.Info != nil {
			all[i].pulls = c.Info.NumWaiting
			all[i].settled = p.settled(ctx, c.Lane)
			all[i].why, all[i].outage = workers.Idle(c.Lane)
			all[i].do = workers.Start(c.Lane)
		}
	}
	for end := time.Now().Add(lookFor); !allPulled(all) && time.Now().Before(end); {
		if !stream.Pause(ctx, lookPause) {
			break
		}
		for i := range all {
			p.look(ctx, &all[i])
		}
	}
	return judgeConsumers(all, roomOf(x.Usage).Share(), p.Broker.AckWait, p.Conn.Now())
}

func allPulled(all []taken) bool {
	for _, c := range all {
		if c.Info != nil && !c.spare && c.pulls == 0 {
			return false
		}
	}
	return true
}

// look reads a consumer again, if no pull was seen.
func (p *Patient) look(ctx context.Context, c *taken) {
	if c.Info == nil || c.pulls > 0 {
		return
	}
	if q, err := p.Conn.JS().Consumer(ctx, c.Info.Stream, c.Info.Name); err == nil {
		c.Info = q.CachedInfo()
		c.pulls = c.Info.NumWaiting
	}
}

// settled reports that the lane has a record of the last minute.
func (p *Patient) settled(ctx context.Context, lane wire.Lane) bool {
	_, err := p.Conn.Store().Next(ctx, wire.StreamRecord, "mail.record."+string(lane)+".>", 0, p.Conn.Now().Add(-lately))
	return err == nil
}

// judgeConsumers: does a worker take the mail of every lane? used is the share of the
// room, wait the AckWait that consumers should have, 0 for any.
func judgeConsumers(all []taken, used float64, wait time.Duration, now time.Time) []Finding {
	var found []Finding
	pulls := 0
	for _, c := range all {
		pulls += c.pulls
		if f, odd := judgeState("consumers", c.State); odd {
			found = append(found, f)
		}
		if c.Info == nil {
			continue
		}
		if f := judgeTaken(c, used, now); f.Level != OK && !c.spare {
			found = append(found, f)
		}
		if have := c.Info.Config.AckWait; wait > 0 && have != wait {
			found = append(found, Finding{Level: Warning, Check: "consumers", At: c.Name, Found: fmt.Sprintf("POSTRIDER_ACK_WAIT is %s, but the broker has %s, which all workers use", queue.Span(wait), queue.Span(have)), Do: provisionWait})
		}
	}
	if len(found) == 0 && len(all) > 0 {
		found = []Finding{{Level: OK, Check: "consumers", At: fmt.Sprintf("%d consumers", len(all)), Found: fmt.Sprintf("as they must be; %d pulls wait for mail", pulls)}}
	}
	return found
}

// judgeTaken: does a worker take from the consumer, and if not, why?
func judgeTaken(c taken, used float64, now time.Time) Finding {
	f := Finding{Level: OK, Check: "consumers", At: c.Name}
	ready := c.Info.NumPending + uint64(c.Info.NumAckPending)
	switch {
	case c.Info.Paused:
		f.Level, f.Found = Problem, fmt.Sprintf("is paused for %s: nothing is handed out", c.Info.PauseRemaining.Round(time.Second))
		f.Do = "nats consumer resume " + c.Info.Stream + " " + c.Info.Name
	case c.pulls > 0, ready > 0 && (c.settled || busy(c.Info, now)):
		// A worker asks, or all sessions are busy.
	case used >= broker.RoomForDue, c.Fresh && used >= broker.RoomForFresh:
		f.Level, f.Found, f.Do = Warning, "no worker asks for its mail at this moment: the store is filling up, and workers take mail one at a time, with pauses", "make room, see the finding about room"
	case c.outage:
		// The finding about the relay says so.
	default:
		f.Level, f.Found, f.Do = Problem, notAsked+c.why, c.do
	}
	return f
}

// busy: something was handed out within the last minute and is in flight.
func busy(info *jetstream.ConsumerInfo, now time.Time) bool {
	return info.NumAckPending > 0 && info.Delivered.Last != nil && now.Sub(*info.Delivered.Last) < lately
}

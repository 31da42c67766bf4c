package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// rateOver is the time that a rate is taken over.
	rateOver = time.Minute
	// rateLeast keeps one mail in the last moment from being many a second.
	rateLeast = 5 * time.Second
	// exactUpTo is the number of subjects up to which schedules are counted one
	// by one.
	exactUpTo = 20000
)

// Lane is how one lane stands.
type Lane struct {
	Lane wire.Lane `json:"lane"`
	// Waiting is mail that no worker has taken yet, Due copies whose time has
	// come, InHand what workers have taken and not settled, Scheduled copies
	// whose time is still to come, Dead the dead letters, markers not counted.
	Waiting   uint64 `json:"waiting"`
	Due       uint64 `json:"due"`
	InFlight  uint64 `json:"in_flight"`
	Scheduled uint64 `json:"scheduled"`
	Dead      uint64 `json:"dead"`
	// Oldest is since when the oldest mail has been ready to be sent: accepted
	// or due, and not settled. The zero time where nothing is.
	Oldest time.Time `json:"oldest,omitzero"`
	// Rate is the messages settled a second: delivered, deferred or dead, by
	// the records that the lane's workers wrote within the last minute, or
	// since they began to write within it.
	Rate float64 `json:"rate"`
	// Empty is when all that is ready will have been settled at that rate; the
	// zero time where nothing is ready or nothing moves.
	Empty time.Time `json:"empty,omitzero"`
	// Takers are the pulls that wait at the broker for mail of the lane. While
	// all sessions are busy, or the relay is down, there is none.
	Takers int `json:"takers"`
}

// Ready is what could be sent now.
func (l *Lane) Ready() uint64 { return l.Waiting + l.Due + l.InFlight }

// Status is how the whole queue stands.
type Status struct {
	At    time.Time `json:"at"`
	Lanes []Lane    `json:"lanes"`
	// Used and Limit are the bytes stored and those that may be; 0 is no limit.
	Used  uint64 `json:"used_bytes"`
	Limit uint64 `json:"limit_bytes,omitzero"`
	// Died is the number of dead letters buried within the last hour.
	Died uint64 `json:"died_last_hour"`
}

// Status counts. It reads what the broker knows of its streams and consumers,
// and the heads of the dead letters; no mail.
func (q *Queue) Status(ctx context.Context) (*Status, error) {
	g := &Status{At: q.now()}
	lanes, err := q.lanes(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range lanes {
		if err := q.count(ctx, &l, g.At); err != nil {
			return nil, fmt.Errorf("count lane %s: %w", l.Lane, err)
		}
		g.Lanes = append(g.Lanes, l)
	}
	if err := q.countDead(ctx, g); err != nil {
		return nil, err
	}
	g.Used, g.Limit, err = q.room(ctx)
	return g, err
}

// lanes are those that have a stream, by name, with when their first mail came.
func (q *Queue) lanes(ctx context.Context) ([]Lane, error) {
	all := q.js.ListStreams(ctx, jetstream.WithStreamListSubject("mail.send.>"))
	var lanes []Lane
	var none wire.Lane
	for info := range all.Info() {
		name, ok := strings.CutPrefix(info.Config.Name, none.SendStream())
		if !ok {
			continue // somebody else's stream, which would have stopped the workers
		}
		l := Lane{Lane: wire.Lane(strings.ToLower(name))}
		if info.State.Msgs > 0 {
			l.Oldest = info.State.FirstTime
		}
		lanes = append(lanes, l)
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list the lanes: %w", err)
	}
	slices.SortFunc(lanes, func(a, b Lane) int { return strings.Compare(string(a.Lane), string(b.Lane)) })
	return lanes, nil
}

func (q *Queue) count(ctx context.Context, l *Lane, now time.Time) error {
	due, err := q.ready(ctx, l)
	if err != nil {
		return err
	}
	if l.Scheduled, err = q.scheduled(ctx, l.Lane, due); err != nil {
		return err
	}
	return q.rate(ctx, l, now)
}

// ready fills in what could be sent now, and since when; due is how many of
// them are copies, in flight or not. Of fresh mail the oldest is known already.
func (q *Queue) ready(ctx context.Context, l *Lane) (due uint64, err error) {
	fresh, err := q.consumer(ctx, l.Lane.SendStream(), wire.ConsumerFresh)
	if err != nil {
		return 0, err
	}
	copies, err := q.consumer(ctx, l.Lane.LaterStream(), wire.ConsumerDue)
	if err != nil {
		return 0, err
	}
	l.Waiting, l.Due = fresh.NumPending, copies.NumPending
	l.InFlight = uint64(fresh.NumAckPending + copies.NumAckPending)
	l.Takers = fresh.NumWaiting + copies.NumWaiting
	first, err := q.store.Next(ctx, l.Lane.LaterStream(), l.Lane.CopySubjects(wire.CopyDue), 1, time.Time{})
	switch {
	case err == nil && (l.Oldest.IsZero() || first.Time.Before(l.Oldest)):
		l.Oldest = first.Time
	case err != nil && !errors.Is(err, stream.ErrNotFound):
		return 0, err
	}
	return copies.NumPending + uint64(copies.NumAckPending), nil
}

func (q *Queue) stream(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	s, err := q.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	return s.CachedInfo(), nil
}

func (q *Queue) consumer(ctx context.Context, stream, name string) (*jetstream.ConsumerInfo, error) {
	c, err := q.js.Consumer(ctx, stream, name)
	if err != nil {
		return nil, fmt.Errorf("read consumer %s of %s: %w; a worker makes it when it starts", name, stream, err)
	}
	return c.CachedInfo(), nil
}

// scheduled counts the copies whose time is still to come. Many of them are
// taken to be what is neither waiting nor in flight, which is one request and may
// be out by what moves in that moment.
func (q *Queue) scheduled(ctx context.Context, lane wire.Lane, due uint64) (uint64, error) {
	s, err := q.js.Stream(ctx, lane.LaterStream())
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", lane.LaterStream(), err)
	}
	state := s.CachedInfo().State
	if state.NumSubjects > exactUpTo {
		return state.Msgs - min(state.Msgs, due), nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(lane.CopySubjects(wire.CopyLater)))
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", lane.LaterStream(), err)
	}
	var n uint64
	for _, messages := range info.State.Subjects {
		n += messages
	}
	return n, nil
}

// rate takes the speed from the records, which every worker writes: what the
// consumers say would have to be asked twice, and forgets with a killed broker.
func (q *Queue) rate(ctx context.Context, l *Lane, now time.Time) error {
	since := now.Add(-rateOver)
	subject := "mail.record." + string(l.Lane) + ".>"
	first, err := q.store.Next(ctx, wire.StreamRecord, subject, 0, since)
	if errors.Is(err, stream.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := q.js.OrderedConsumer(ctx, wire.StreamRecord, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, HeadersOnly: true,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first.Sequence,
	})
	if err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	info := c.CachedInfo()
	defer q.forget(ctx, wire.StreamRecord, info.Name)
	over := max(now.Sub(first.Time), rateLeast)
	l.Rate = float64(info.NumPending) / over.Seconds()
	if n := l.Ready(); n > 0 && l.Rate > 0 {
		l.Empty = now.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
	}
	return nil
}

// forget deletes a consumer that was made to count. Should that fail the broker
// does it by itself in a while.
func (q *Queue) forget(ctx context.Context, stream, name string) {
	_ = q.js.DeleteConsumer(ctx, stream, name)
}

// DeadLetters are the dead letters, markers not counted.
type DeadLetters struct {
	Lanes map[wire.Lane]uint64
	// Recent are those of the last hour.
	Recent uint64
	// Oldest is when the first one was buried; the zero time where there is none.
	Oldest time.Time
}

// DeadLetters counts the dead letters by reading their heads.
func (q *Queue) DeadLetters(ctx context.Context) (*DeadLetters, error) {
	all, now := &DeadLetters{Lanes: map[wire.Lane]uint64{}}, q.now()
	err := q.heads(ctx, wire.StreamDead, "mail.dead.>", func(m jetstream.Msg, meta *jetstream.MsgMetadata) {
		key, err := wire.ParseKey(m.Subject())
		if err != nil || m.Headers().Get(wire.HeaderTombstone) != "" {
			return
		}
		all.Lanes[key.Lane]++
		if now.Sub(meta.Timestamp) < time.Hour {
			all.Recent++
		}
		if all.Oldest.IsZero() { // they come in the order of burial
			all.Oldest = meta.Timestamp
		}
	})
	return all, err
}

// countDead adds the dead letters.
func (q *Queue) countDead(ctx context.Context, g *Status) error {
	all, err := q.DeadLetters(ctx)
	g.Died = all.Recent
	dead := all.Lanes
	for i := range g.Lanes {
		g.Lanes[i].Dead = dead[g.Lanes[i].Lane]
		delete(dead, g.Lanes[i].Lane)
	}
	// Lanes that were removed have dead letters still.
	for _, lane := range slices.Sorted(maps.Keys(dead)) {
		g.Lanes = append(g.Lanes, Lane{Lane: lane, Dead: dead[lane]})
	}
	return err
}

// heads reads headers and no bodies, of what is there now, one by one.
func (q *Queue) heads(ctx context.Context, stream, subject string, see func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	c, err := q.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	left := c.CachedInfo().NumPending
	if left == 0 {
		q.forget(ctx, stream, c.CachedInfo().Name)
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	defer it.Stop()
	for left > 0 {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		left = meta.NumPending
		see(m, meta)
	}
	return nil
}

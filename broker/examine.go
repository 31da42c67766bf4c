package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

// Examination is what stands at the broker, beside what should.
type Examination struct {
	// Server is the name, Address the URL without a secret, and Version and
	// Level (of the JetStream API) what the server says of itself.
	Server, Address, Version string
	Level                    int
	// Old says that Postrider cannot use this server.
	Old error
	// Embedded: the broker is part of a worker.
	Embedded bool
	// Cluster is empty for a single server.
	Cluster string
	// Account is that of the streams; empty where the broker does not say.
	Account string
	// Writes and Producers are what the promise lacks; nil for nothing.
	Writes, Producers *Weakness
	Usage             Usage
	// Lanes are those that have a stream, and those that were asked for.
	Lanes     []wire.Lane
	Streams   []StreamState
	Consumers []ConsumerState
}

// Usage is the room at the broker, in bytes.
type Usage struct {
	// Stored is what lies there, Reserved what streams have been promised, and
	// Limit what may be stored; 0 where there is none or the broker does not say.
	Stored, Reserved, Limit uint64
	// Dir is the directory of an embedded broker on this machine, and Free what
	// its file system has left; Dir is empty for any other.
	Dir  string
	Free uint64
}

// State is how a stream or consumer stands.
type State struct {
	// Name is the stream's, or stream/consumer.
	Name string
	// Err says why it cannot be used: [ErrMissing], [ErrForeign], [stream.ErrAway].
	Err error
	// Newer: a newer Postrider set it up, so that Drift is not known.
	Newer bool
	// Drift are the settings that are not as they must be, a sentence each.
	Drift []string
}

// StreamState is how a stream stands; Info is nil where it could not be read.
type StreamState struct {
	State
	Info *jetstream.StreamInfo
}

// ConsumerState is how a lane's consumer stands; Info is nil where it could not
// be read.
type ConsumerState struct {
	State
	wire.Source
	Info *jetstream.ConsumerInfo
}

// Examine compares what stands at the broker with what [Provision] would make
// of it, for those lanes and all that are there, and changes nothing. What
// cannot be read stands in the states. It fails where the account or its list
// of streams cannot be read.
func Examine(ctx context.Context, c *Conn, lanes []wire.Lane, cfg Config) (*Examination, error) {
	info, err := c.account(ctx)
	if err != nil {
		return nil, noJetStream(err)
	}
	x := &Examination{
		Server: c.nc.ConnectedServerName(), Address: c.URL(),
		Version: c.nc.ConnectedServerVersion(), Level: info.API.Level, Cluster: c.nc.ConnectedClusterName(),
		Usage: cfg.usage(info, c.nc.ConnectedServerName()), Account: c.accountName(ctx),
	}
	_, x.Embedded = embeddedName(x.Server)
	x.Old = checkServer(x.Version, x.Level)
	x.Producers = producers(x.Account)
	if x.Lanes, err = c.lanes(ctx, lanes); err != nil {
		return nil, err
	}
	single := false
	for _, want := range (layout{lanes: x.Lanes, replicas: cfg.Replicas, maxPayload: c.nc.MaxPayload()}).streams() {
		s := c.streamState(ctx, want)
		single = single || s.Info != nil && s.Info.Config.Replicas == 1
		x.Streams = append(x.Streams, s)
	}
	x.Writes = c.writes(single)
	for _, lane := range x.Lanes {
		for _, s := range lane.Sources() {
			x.Consumers = append(x.Consumers, c.consumerState(ctx, s))
		}
	}
	return x, nil
}

func (c Config) usage(info *jetstream.AccountInfo, serverName string) Usage {
	t := fullest(info)
	u := Usage{Stored: t.Store, Reserved: t.ReservedStore, Limit: limitOf(t)}
	owner, _ := ownerOf(serverName)
	if operator, err := PublicKey(OperatorFile(c.DataDir)); err != nil || operator != owner {
		return u
	}
	if free, err := FreeBytes(c.DataDir); err == nil {
		u.Dir, u.Free = c.DataDir, free
	}
	return u
}

// lanes are those of which a stream is there, and those asked for, by name.
func (c *Conn) lanes(ctx context.Context, asked []wire.Lane) ([]wire.Lane, error) {
	lanes := slices.Clone(asked)
	all := c.js.StreamNames(ctx)
	for name := range all.Name() {
		if lane, ok := wire.LaneOfStream(name); ok {
			lanes = append(lanes, lane)
		}
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", refused(err))
	}
	slices.Sort(lanes)
	return slices.Compact(lanes), nil
}

func (c *Conn) streamState(ctx context.Context, want jetstream.StreamConfig) StreamState {
	x := StreamState{State: State{Name: want.Name}}
	s, err := c.js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		x.Err = c.missing(ctx, want.Subjects)
		return x
	case err != nil:
		x.Err = refused(err)
		return x
	}
	x.Info = s.CachedInfo()
	_, x.Drift, x.Newer, x.Err = streamDrift(x.Info.Config, want)
	return x
}

// missing says that a stream with those subjects is not there, and whether
// another one stands in its way.
func (c *Conn) missing(ctx context.Context, subjects []string) error {
	for _, subject := range subjects {
		if other, err := c.js.StreamNameBySubject(ctx, subject); err == nil {
			return fmt.Errorf("%w: the stream %s takes its subject %s (%w)", ErrMissing, other, subject, ErrForeign)
		}
	}
	return ErrMissing
}

func (c *Conn) consumerState(ctx context.Context, s wire.Source) ConsumerState {
	x := ConsumerState{State: State{Name: s.Stream + "/" + s.Consumer}, Source: s}
	q, err := c.js.Consumer(ctx, s.Stream, s.Consumer)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		x.Err = ErrMissing
		return x
	case err != nil:
		x.Err = refused(err)
		return x
	}
	x.Info = q.CachedInfo()
	// What stands counts: all workers go by it.
	_, x.Drift, x.Newer, x.Err = consumerDrift(x.Info.Config, consumerConfig(s, x.Info.Config.AckWait))
	return x
}

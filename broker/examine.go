package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Examination is the state of the broker, beside what it must be.
type Examination struct {
	// Server is the server's name and Address its URL without a secret. Version
	// and Level (of the JetStream API) are what it says of itself.
	Server, Address, Version string
	Level                    int
	// Old says why Postrider cannot use this server; nil if it can.
	Old error
	// Embedded: the broker is part of a worker.
	Embedded bool
	// Cluster is empty for a single server.
	Cluster string
	// Account is that of the streams; empty if the broker does not say.
	Account string
	// Writes and Producers are what weakens the promise; nil for nothing.
	Writes, Producers *Weakness
	Usage             Usage
	// Lanes are those that were asked for and those that have a stream, by name.
	Lanes     []wire.Lane
	Streams   []StreamState
	Consumers []ConsumerState
}

// Usage is the room at the broker, in bytes.
type Usage struct {
	// Stored is what is stored, Reserved what streams have reserved, and Limit
	// what may be stored; 0 if there is none or the broker does not say.
	Stored, Reserved, Limit uint64
	// Dir is the directory of an embedded broker on this machine, empty for any
	// other broker. Free is what its file system has left.
	Dir  string
	Free uint64
	// Needs says what Dir needs before mail can be stored; nil for nothing.
	Needs error
}

// State is the state of a stream or consumer.
type State struct {
	// Name is the stream's, or stream/consumer.
	Name string
	// Err says why it cannot be used: [ErrMissing], [ErrForeign],
	// [stream.ErrAway].
	Err error
	// Newer: a newer Postrider set it up, so that it cannot be compared.
	Newer bool
	// Drift has a sentence for each setting that is not as it must be.
	Drift []string
}

// StreamState is the state of a stream. Info is nil if it could not be read.
// Source is the zero Source for a stream that all lanes share.
type StreamState struct {
	State
	wire.Source
	Info *jetstream.StreamInfo
}

// ConsumerState is the state of a lane's consumer. Info is nil if it could not
// be read.
type ConsumerState struct {
	State
	wire.Source
	Info *jetstream.ConsumerInfo
}

// Examine compares what the broker has with what [Provision] would make of it,
// and changes nothing: for those lanes and for all that have a stream. A stream
// or consumer that cannot be read has an error in its state. Examine fails if
// the account or its list of streams cannot be read.
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
	x.Embedded = c.Embedded()
	x.Old = checkServer(x.Version, x.Level)
	x.Producers = producers(x.Account)
	if x.Lanes, err = allLanes(ctx, c.js, lanes); err != nil {
		return nil, err
	}
	sources := sourcesOf(x.Lanes)
	single := false
	for _, want := range (layout{lanes: x.Lanes, replicas: cfg.Replicas, maxPayload: c.nc.MaxPayload()}).streams() {
		s := streamState(ctx, c.js, want)
		if i := slices.IndexFunc(sources, func(s wire.Source) bool { return s.Stream == want.Name }); i >= 0 {
			s.Source = sources[i]
		}
		single = single || s.Info != nil && s.Info.Config.Replicas == 1
		x.Streams = append(x.Streams, s)
	}
	x.Writes = writes(c.nc.ConnectedServerName(), single)
	for _, s := range sources {
		x.Consumers = append(x.Consumers, consumerState(ctx, c.js, s))
	}
	return x, nil
}

func (c Config) usage(info *jetstream.AccountInfo, serverName string) Usage {
	t := fullest(info)
	u := Usage{Stored: t.Store, Reserved: t.ReservedStore, Limit: limitOf(t)}
	if !c.owns(serverName) {
		return u
	}
	disk := c.Disk()
	u.Dir, u.Free, u.Needs = disk.Dir, disk.Free, disk.Needs
	return u
}

// Disk is the room in POSTRIDER_DATA_DIR; nothing if no embedded broker has used it.
func (c Config) Disk() (u Usage) {
	if _, err := os.Stat(OperatorFile(c.DataDir)); err != nil {
		return u
	}
	free, err := FreeBytes(c.DataDir)
	if err != nil {
		return u
	}
	return Usage{Dir: c.DataDir, Free: free, Needs: CheckDisk(c.DataDir)}
}

// allLanes are those asked for and those that have a stream, by name.
func allLanes(ctx context.Context, js jetstream.JetStream, asked []wire.Lane) ([]wire.Lane, error) {
	lanes := slices.Clone(asked)
	all := js.StreamNames(ctx)
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

func streamState(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) StreamState {
	x := StreamState{State: State{Name: want.Name}}
	s, err := js.Stream(ctx, want.Name)
	switch err = refused(err); {
	case errors.Is(err, stream.ErrNoStream):
		x.Err = missing(ctx, js, want.Subjects)
		return x
	case err != nil:
		x.Err = err
		return x
	}
	x.Info = s.CachedInfo()
	_, x.Drift, x.Newer, x.Err = streamDrift(x.Info.Config, want)
	return x
}

// missing is [ErrMissing] for a stream with those subjects. It names a stream
// that has taken one of them.
func missing(ctx context.Context, js jetstream.JetStream, subjects []string) error {
	for _, subject := range subjects {
		if other, err := js.StreamNameBySubject(ctx, subject); err == nil {
			return fmt.Errorf("%w: the stream %s takes its subject %s (%w)", ErrMissing, other, subject, ErrForeign)
		}
	}
	return ErrMissing
}

func consumerState(ctx context.Context, js jetstream.JetStream, s wire.Source) ConsumerState {
	x := ConsumerState{State: State{Name: s.Stream + "/" + s.Consumer}, Source: s}
	q, err := js.Consumer(ctx, s.Stream, s.Consumer)
	switch err = refused(err); {
	case gone(err):
		x.Err = ErrMissing
		return x
	case err != nil:
		x.Err = err
		return x
	}
	x.Info = q.CachedInfo()
	// Any AckWait is right here: all workers go by the one at the broker.
	_, x.Drift, x.Newer, x.Err = consumerDrift(x.Info.Config, consumerConfig(s, x.Info.Config.AckWait))
	return x
}

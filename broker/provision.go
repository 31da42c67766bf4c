package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Provision makes or upgrades all streams and consumers for those lanes or, with
// cfg.Provision = verify, only compares them. Doing it again changes nothing, and
// several workers may do it at once. What a newer Postrider has set stays as it
// is. Lanes are never removed.
//
// The warnings are sentences for the log. It fails with [ErrOldServer],
// [ErrForeign], [stream.ErrFull] (no room to reserve) or [stream.ErrAway], and
// with verify if anything differs: then the error names everything that does.
func Provision(ctx context.Context, c *Conn, lanes []wire.Lane, cfg Config) (warnings []string, err error) {
	info, err := c.account(ctx)
	if err != nil {
		return nil, noJetStream(err)
	}
	if err := checkServer(c.nc.ConnectedServerVersion(), info.API.Level); err != nil {
		return nil, err
	}
	p := &provisioner{c: c, cfg: cfg, made: map[string]jetstream.StreamConfig{}}
	if err := p.streams(ctx, lanes, info); err != nil {
		return nil, err
	}
	for _, s := range sourcesOf(lanes) {
		if err := p.consumer(ctx, s.Stream, consumerConfig(s, cfg.AckWait)); err != nil {
			return nil, err
		}
	}
	if err := p.forgotten(ctx, lanes); err != nil {
		return nil, err
	}
	if len(p.differs) > 0 {
		return nil, fmt.Errorf("POSTRIDER_PROVISION=verify: the broker is not as it must be; set POSTRIDER_PROVISION=apply once: %w", errors.Join(p.differs...))
	}
	for _, w := range []*Weakness{writes(c.nc.ConnectedServerName(), p.single), producers(c.accountName(ctx))} {
		if w != nil {
			p.warn(w.String())
		}
	}
	// Now there is a stream to ask for.
	_ = c.clock.measure(ctx, c.brokerTime)
	return p.warnings, nil
}

// provisioner is one run of [Provision].
type provisioner struct {
	c        *Conn
	cfg      Config
	made     map[string]jetstream.StreamConfig // streams that exist
	single   bool                              // some stream has one replica
	differs  []error                           // what verify found
	warnings []string
}

func (p *provisioner) warn(s string) { p.warnings = append(p.warnings, s) }

func (p *provisioner) verify() bool { return p.cfg.Provision == Verify }

// streams reads all streams first, to share out the room among those that are
// missing, and then makes, upgrades or compares them one by one.
func (p *provisioner) streams(ctx context.Context, lanes []wire.Lane, info *jetstream.AccountInfo) error {
	l := layout{lanes: lanes, replicas: p.cfg.Replicas, maxPayload: p.c.nc.MaxPayload()}
	var reserved uint64
	for _, want := range l.streams() {
		s, err := p.c.js.Stream(ctx, want.Name)
		if err = refused(err); errors.Is(err, stream.ErrNoStream) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read stream %s: %w", want.Name, err)
		}
		have := s.CachedInfo().Config
		p.made[want.Name] = have
		reserved += uint64(max(have.MaxBytes, 0))
	}
	if err := p.shareRoom(&l, info, reserved); err != nil {
		return err
	}
	for _, want := range l.streams() {
		if err := p.stream(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

// forgotten warns of mail in lanes that are not among POSTRIDER_LANES: no worker with these
// POSTRIDER_LANES sends it. With verify there may be no permission to list streams.
func (p *provisioner) forgotten(ctx context.Context, lanes []wire.Lane) error {
	if p.verify() {
		return nil
	}
	ours := make(map[string]bool)
	for _, s := range sourcesOf(lanes) {
		ours[s.Stream] = true
	}
	left := make(map[wire.Lane]uint64)
	all := p.c.js.ListStreams(ctx)
	for s := range all.Info() {
		if lane, ok := wire.LaneOfStream(s.Config.Name); ok && !ours[s.Config.Name] {
			left[lane] += s.State.Msgs
		}
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("list streams: %w", refused(err))
	}
	for _, lane := range slices.Sorted(maps.Keys(left)) {
		if left[lane] == 0 {
			continue
		}
		p.warn(fmt.Sprintf("lane %s holds %d messages and is not among POSTRIDER_LANES: no worker with these POSTRIDER_LANES sends them; add it until it is empty", lane, left[lane]))
	}
	return nil
}

// shareRoom sets the size of the streams that are to be made. reserved is what
// those that exist have.
func (p *provisioner) shareRoom(l *layout, info *jetstream.AccountInfo, reserved uint64) error {
	l.laneBytes, l.eventBytes = -1, -1
	limit := p.streamLimit(info)
	if limit == 0 {
		return nil
	}
	l.eventBytes = eventPart(limit)
	if _, ok := p.made[wire.StreamEvent]; !ok {
		reserved += uint64(l.eventBytes)
	}
	fresh, missing := 0, 0
	for _, s := range sourcesOf(l.lanes) {
		if !s.Fresh {
			continue
		}
		fresh++
		if _, ok := p.made[s.Stream]; !ok {
			missing++
		}
	}
	l.laneBytes = newLanePart(limit, reserved, fresh, missing)
	if missing > 0 && l.laneBytes < l.maxPayload && !p.verify() {
		return fmt.Errorf("make a new lane: %w: %d of %d bytes are reserved by streams that exist, and each of %d new streams for fresh mail needs at least %d: make room on the disk and start again", stream.ErrFull, reserved, limit, missing, l.maxPayload)
	}
	return nil
}

// streamLimit is how many bytes one replica of all streams may store; 0 if no
// limit is known.
func (p *provisioner) streamLimit(info *jetstream.AccountInfo) uint64 {
	n := p.replicas()
	if t, ok := info.Tiers["R"+strconv.Itoa(n)]; ok {
		return uint64(max(t.Limits.MaxStore, 0))
	}
	// Without tiers the limit is that of all replicas together.
	return uint64(max(info.Limits.MaxStore, 0)) / uint64(n)
}

// replicas is the number of replicas of a new stream.
func (p *provisioner) replicas() int {
	switch {
	case p.cfg.Replicas > 0:
		return p.cfg.Replicas
	case p.c.nc.ConnectedClusterName() != "":
		return 3
	}
	return 1
}

// stream makes, upgrades or compares one stream.
func (p *provisioner) stream(ctx context.Context, want jetstream.StreamConfig) error {
	have, ok := p.made[want.Name]
	if !ok {
		return p.create(ctx, want)
	}
	target, diff, newer, err := streamDrift(have, want)
	if err != nil {
		return err
	}
	p.single = p.single || have.Replicas == 1
	if newer {
		return echoed(have, want)
	}
	if len(diff) == 0 {
		return nil
	}
	if p.verify() {
		for _, d := range diff {
			p.differs = append(p.differs, fmt.Errorf("stream %s: %s", want.Name, d))
		}
		return nil
	}
	s, err := p.c.js.UpdateStream(ctx, target)
	if err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, refused(err))
	}
	p.c.log.Info("stream updated", "stream", want.Name, "changes", diff)
	return echoed(s.CachedInfo().Config, want)
}

func (p *provisioner) create(ctx context.Context, want jetstream.StreamConfig) error {
	if p.verify() {
		p.differs = append(p.differs, fmt.Errorf("stream %s: is missing", want.Name))
		return nil
	}
	want.Replicas = p.replicas()
	want.AllowDirect = direct(want)
	want.Metadata = stamp(nil)
	p.single = p.single || want.Replicas == 1
	s, err := p.c.js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		// Another worker has just made it, and may have shared out the room
		// differently.
		if s, err = p.c.js.Stream(ctx, want.Name); err == nil {
			p.made[want.Name] = s.CachedInfo().Config
			return p.stream(ctx, want)
		}
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", want.Name, refused(err))
	}
	p.c.log.Debug("stream created", "stream", want.Name, "replicas", want.Replicas, "max_bytes", want.MaxBytes)
	return echoed(s.CachedInfo().Config, want)
}

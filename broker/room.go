package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"syscall"

	"github.com/nats-io/nats.go/jetstream"
)

// Room is how many bytes are stored at the broker and how many may be. A limit
// of 0 means that there is none or that the broker does not say. It fails with
// [stream.ErrAway].
func (c *Conn) Room(ctx context.Context) (used, limit uint64, err error) {
	info, err := c.account(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask the broker for its room: %w", err)
	}
	t := fullest(info)
	return t.Store, limitOf(t), nil
}

// fullest is the usage that counts. An account has one tier, or one for each
// number of replicas: then it is the one that comes to its limit first.
func fullest(info *jetstream.AccountInfo) jetstream.Tier {
	worst := info.Tier
	share := func(t jetstream.Tier) float64 { return float64(t.Store) / float64(max(limitOf(t), 1)) }
	for _, t := range info.Tiers {
		if limitOf(t) > 0 && (limitOf(worst) == 0 || share(t) > share(worst)) {
			worst = t
		}
	}
	return worst
}

// limitOf is how many bytes a tier may store; 0 if there is no limit.
func limitOf(t jetstream.Tier) uint64 { return uint64(max(t.Limits.MaxStore, 0)) }

func (c *Conn) account(ctx context.Context) (*jetstream.AccountInfo, error) {
	b, err := c.store.API(ctx, "INFO", nil)
	if err != nil {
		return nil, err
	}
	var info jetstream.AccountInfo
	if err := json.Unmarshal(b, &info); err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	return &info, nil
}

// lanePart is the MaxBytes of one of n lanes: together they have 60 % of the
// limit.
func lanePart(limit uint64, n int) int64 { return int64(limit / 100 * 60 / uint64(max(n, 1))) }

// newLanePart is the MaxBytes of each lane that is still to be made, if so many
// bytes are reserved already: an equal part, or what is left of 90 % for lanes
// that are added after the room was shared out.
func newLanePart(limit, reserved uint64, lanes, missing int) int64 {
	var left uint64
	if most := limit / 100 * 90; most > reserved {
		left = most - reserved
	}
	return min(lanePart(limit, lanes), int64(left/uint64(max(missing, 1))))
}

// eventPart is the MaxBytes of the log that people read.
func eventPart(limit uint64) int64 { return int64(limit / 100 * 10) }

const (
	// LeastDisk is the free space that an embedded broker needs: two of the largest
	// messages. With less the next mail might fill the disk.
	LeastDisk = 16 << 20
	// leastFiles are the inodes that it needs, to open its streams.
	leastFiles = 16
	writable   = 2 // W_OK
)

// FreeBytes is how many bytes the file system of dir has left for a process
// without privileges.
func FreeBytes(dir string) (uint64, error) {
	free, _, err := space(dir)
	return free, err
}

// space is what the file system of dir has left, in bytes and inodes. A file system
// that does not count inodes has any number.
func space(dir string) (free, inodes uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	if inodes = st.Ffree; st.Files == 0 {
		inodes = math.MaxUint64
	}
	return uint64(st.Bavail) * uint64(st.Bsize), inodes, nil //nolint:unconvert // signed on other systems
}

// CheckDisk says what dir needs before mail can be stored in it, as far as its file
// system says; nil if it needs nothing.
func CheckDisk(dir string) error {
	free, inodes, err := space(dir)
	switch {
	case err != nil:
		return err
	case free < LeastDisk:
		return fmt.Errorf("make room: %s has %d MiB free and needs %d", dir, free>>20, LeastDisk>>20)
	case inodes < leastFiles:
		return fmt.Errorf("remove files: the file system of %s has %d inodes free and needs %d", dir, inodes, leastFiles)
	}
	if err := syscall.Access(dir, writable); err != nil {
		return fmt.Errorf("let the worker write in %s: %w", dir, err)
	}
	return nil
}

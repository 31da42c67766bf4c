package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nats.go/jetstream"
)

// spare is what the limit stays above the reserved bytes, so that a stream
// without a reservation can still be added.
const spare = 1 << 20

// storeLimit is how much an embedded broker may store: 70 % of what its disk
// could hold of mail, because at a full disk writes fail without an error, and
// never below what its streams have been promised.
func storeLimit(free, stored, reserved uint64) uint64 {
	return max((free+stored)/10*7, reserved+spare)
}

// lanePart is the share of one of n lanes: they have 60 % together.
func lanePart(limit uint64, n int) int64 { return int64(limit / 100 * 60 / uint64(max(n, 1))) }

// eventPart is the share of the log that people read.
func eventPart(limit uint64) int64 { return int64(limit / 100 * 10) }

// Room is how many bytes are stored and how many may be; limit 0 means that
// there is none or that the broker does not say. It fails with [ErrAway].
func (c *Conn) Room(ctx context.Context) (used, limit uint64, err error) {
	info, err := c.account(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask the broker for its room: %w", err)
	}
	t := fullest(info)
	return t.Store, limitOf(t), nil
}

// fullest is an account's usage: that of its one tier, or of the number of
// replicas whose limit comes first.
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

// limitOf is how many bytes a tier may store; 0 where there is no limit.
func limitOf(t jetstream.Tier) uint64 { return uint64(max(t.Limits.MaxStore, 0)) }

func (c *Conn) account(ctx context.Context) (*jetstream.AccountInfo, error) {
	b, err := c.api(ctx, "INFO", nil)
	if err != nil {
		return nil, err
	}
	var info jetstream.AccountInfo
	if err := json.Unmarshal(b, &info); err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	return &info, nil
}

// freeBytes is what dir's file system has left for a process without privileges.
func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil //nolint:unconvert // signed on other systems
}

// storedBytes is what lies in files below dir; nothing where there is no dir.
func storedBytes(dir string) (uint64, error) {
	var sum uint64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // none yet, or gone between listing and looking
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if fi, err := d.Info(); err == nil {
			sum += uint64(fi.Size())
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure the mail in %s: %w", dir, err)
	}
	return sum, nil
}

// newLanePart is the MaxBytes of each lane that is still to be made, where
// reserved bytes are given away: its equal part, or what is left of nine
// tenths for lanes that were added after the room had been shared out.
func newLanePart(limit, reserved uint64, lanes, missing int) int64 {
	var left uint64
	if most := limit / 100 * 90; most > reserved {
		left = most - reserved
	}
	return min(lanePart(limit, lanes), int64(left/uint64(max(missing, 1))))
}

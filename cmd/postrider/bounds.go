package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/wire"
)

// bounds are the flags that the log and the dead letters have in common. to is an
// address, or "@domain".
type bounds struct{ lane, to, since, until string }

// flags adds the flags; of is what they select.
func (b *bounds) flags(cmd *cobra.Command, of string) {
	f := cmd.Flags()
	f.StringVar(&b.lane, "lane", "", "only "+of+" of this `LANE`")
	f.StringVar(&b.to, "to", "", "only "+of+" with this recipient: an `ADDRESS`, or @domain for any of a domain")
	f.StringVar(&b.since, "since", "", "only "+of+" since this `TIME`: local, like 2030-01-02 or \"2030-01-02 15:04:05\", or RFC 3339; or how long ago, like 2h or 3d")
	f.StringVar(&b.until, "until", "", "only "+of+" until this `TIME`, as for --since")
}

// read checks what the flags say; what was not set is zero.
func (b *bounds) read(now time.Time) (lane wire.Lane, since, until time.Time, err error) {
	lane = wire.Lane(b.lane)
	if lane != "" {
		if err := lane.Validate(); err != nil {
			return lane, since, until, cli.Wrongf("--lane: %w", err)
		}
	}
	if since, err = moment(b.since, now); err != nil {
		return lane, since, until, cli.Wrongf("--since: %w", err)
	}
	if until, err = moment(b.until, now); err != nil {
		return lane, since, until, cli.Wrongf("--until: %w", err)
	}
	return lane, since, until, nil
}

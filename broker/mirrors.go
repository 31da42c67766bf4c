package broker

import (
	"context"
	"fmt"
	"slices"
)

// MirrorsOf are the names of the streams that mirror a stream. They answer direct gets of it.
func (c *Conn) MirrorsOf(ctx context.Context, stream string) (names []string, err error) {
	all := c.js.ListStreams(ctx)
	for s := range all.Info() {
		if m := s.Config.Mirror; m != nil && m.Name == stream {
			names = append(names, s.Config.Name)
		}
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", refused(err))
	}
	slices.Sort(names)
	return names, nil
}

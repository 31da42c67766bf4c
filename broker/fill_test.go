package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestRoomIsTold: what is fetched one at a time follows the measure, is said once
// for each change, and holds while the broker does not answer.
func TestRoomIsTold(t *testing.T) {
	t.Parallel()
	var used, limit uint64
	var away error
	var said bytes.Buffer
	f := NewFill(t.Context(), func(context.Context) (uint64, uint64, error) { return used, limit, away }, slog.New(slog.NewTextHandler(&said, nil)))
	for _, c := range []struct {
		used, limit uint64
		away        error
		fresh, due  bool
		says        string
	}{
		{74, 100, nil, false, false, ""},
		{75, 100, nil, true, false, "fresh mail is fetched one at a time"},
		{89, 100, nil, true, false, ""},
		{0, 0, errors.New("away"), true, false, ""},
		{90, 100, nil, true, true, "all mail is fetched one at a time"},
		{101, 100, nil, true, true, ""},
		{80, 100, nil, true, false, "due mail goes on"},
		{10, 100, nil, false, false, "has room again"},
		{95, 100, nil, true, true, "all mail is fetched one at a time"},
		{95, 0, nil, false, false, "has room again"}, // the limit was taken away
		{1, 0, nil, false, false, ""},
	} {
		freshBefore, turned := f.Narrow(true)
		dueBefore, _ := f.Narrow(false)
		said.Reset()
		used, limit, away = c.used, c.limit, c.away
		f.Measure(t.Context())
		fresh, _ := f.Narrow(true)
		due, _ := f.Narrow(false)
		if fresh != c.fresh || due != c.due {
			t.Errorf("%d of %d: fresh mail one at a time %v, due mail %v", c.used, c.limit, fresh, due)
		}
		if c.says == "" && said.Len() > 0 || !strings.Contains(said.String(), c.says) {
			t.Errorf("%d of %d: says %q, want %q", c.used, c.limit, said.String(), c.says)
		}
		select {
		case <-turned:
			if fresh == freshBefore && due == dueBefore {
				t.Errorf("%d of %d: told of a change that is none", c.used, c.limit)
			}
		default:
			if fresh != freshBefore || due != dueBefore {
				t.Errorf("%d of %d: who waits is not told", c.used, c.limit)
			}
		}
	}
}

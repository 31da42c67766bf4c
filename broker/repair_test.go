package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestRepairsAreForAll: what interrupts every taker, for minutes, is repaired for
// all of them together, and told once a minute.
func TestRepairsAreForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		tries := 0
		r := NewRepairs(func(context.Context) error {
			tries++
			return errors.New("no leader")
		}, log)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		var takers sync.WaitGroup
		for range 60 {
			takers.Go(func() {
				for ctx.Err() == nil {
					r.After(ctx, wire.Source{}, errors.New("cut"))
					stream.Pause(ctx, time.Second)
				}
			})
		}
		takers.Wait()
		if tries < 25 || tries > 31 {
			t.Errorf("tried %d times in 150 s", tries)
		}
		if n := strings.Count(said.String(), "level=WARN"); n != 6 { // of each two, at 0, 60 and 120 s
			t.Errorf("%d warnings: %s", n, said.String())
		}
	})
}

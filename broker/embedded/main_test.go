package embedded_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const (
	normal = wire.Lane("normal")
	bulk   = wire.Lane("bulk")
)

var quiet = slog.New(slog.DiscardHandler)

// within is the test's context with a bound.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// awaitTick waits a moment between two looks at the broker's state.
func awaitTick(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	case <-time.After(20 * time.Millisecond):
	}
}

package stream_test

import (
	"testing"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const normal = wire.Lane("normal")

func shutdown(t testing.TB, b *natstest.Broker) {
	t.Helper()
	if err := b.Embedded.Shutdown(natstest.Within(t)); err != nil {
		t.Errorf("shut down: %v", err)
	}
}

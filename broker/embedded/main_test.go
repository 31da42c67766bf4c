package embedded_test

import (
	"log/slog"
	"testing"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const (
	normal = wire.Lane("normal")
	bulk   = wire.Lane("bulk")
)

var quiet = slog.New(slog.DiscardHandler)

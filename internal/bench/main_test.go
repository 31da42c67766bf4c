package bench_test

import (
	"testing"

	"github.com/postrider/postrider/internal/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

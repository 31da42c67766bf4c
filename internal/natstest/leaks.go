package natstest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/internal/testrun"
)

// VerifyTestMain is goleak's for packages whose tests start brokers. Several run at
// once, because they wait for timers. A stream that was about to source another
// when its server was shut down waits up to 30 s more for an answer (nats-server,
// trySetupSourceConsumer); every other goroutine counts.
func VerifyTestMain(m *testing.M) {
	goleak.VerifyTestMain(testrun.Tests{M: m, AtOnce: 4},
		goleak.IgnoreTopFunction("github.com/postrider/postrider/internal/testrun.waitForSignal"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3"))
}

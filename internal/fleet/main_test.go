package fleet

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/testcontainers/testcontainers-go/log"

	"github.com/postrider/postrider/internal/testrun"
)

// docker is nil if there is none, for the reason in errNoEngine.
var (
	docker      *engine
	errNoEngine error
)

func TestMain(m *testing.M) {
	// Each needs four of the engine's thirty networks.
	os.Exit(run(testrun.Tests{M: m, AtOnce: 5}))
}

func run(tests testrun.Tests) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	log.SetDefault(log.NewNoopLogger())
	docker, errNoEngine = startEngine(ctx)
	if errNoEngine != nil {
		if os.Getenv("POSTRIDER_TEST_CONTAINERS") != "" {
			fmt.Fprintln(os.Stderr, "POSTRIDER_TEST_CONTAINERS is set:", errNoEngine)
			return 1
		}
		return tests.Run()
	}
	testrun.OnAbort(func() {
		stop()
		_ = docker.remove()
	})
	if err := docker.buildImages(ctx); err != nil {
		docker.remove()
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := tests.Run()
	if err := docker.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	if testing.Verbose() {
		fmt.Fprint(os.Stdout, &results)
	}
	return status
}

package submit_test

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/submit"
	"github.com/postrider/postrider/wire"
)

// The environment of a broker that is a process of its own.
const (
	dirOfBroker  = "TEST_BROKER_DIR"
	addrOfBroker = "TEST_BROKER_ADDR"
)

// serveBroker is that process, until it is killed.
func serveBroker(dir string) {
	cfg := broker.DefaultConfig()
	cfg.DataDir, cfg.Listen = dir, os.Getenv(addrOfBroker)
	if _, err := embedded.Start(context.Background(), cfg, []wire.Lane{normal}, slog.New(slog.DiscardHandler)); err != nil {
		log.Fatal(err)
	}
	select {}
}

// TestAllOutlastKills: kill -9 of the broker loses nothing, and nothing is stored twice.
func TestAllOutlastKills(t *testing.T) {
	t.Parallel()
	cfg := broker.DefaultConfig()
	cfg.DataDir, cfg.Listen = t.TempDir(), freeport.Addr()
	kill := startBroker(t, cfg)
	defer func() { kill() }()
	cfg.URL = "nats://" + cfg.Listen
	conn := dial(t, cfg)
	if _, err := broker.Provision(natstest.Within(t), conn, []wire.Lane{normal}, cfg); err != nil {
		t.Fatal(err)
	}
	c, err := submit.Dial(within(t, patience), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	kills := testrun.Pick(3, 30)
	n := (kills + 1) * 1000
	var results []result
	reached, done := make(chan int, n), make(chan bool)
	go func() {
		defer close(done)
		for r, err := range c.PublishAll(within(t, time.Duration(kills)*patience), normal, slices.Values(mails(n))) {
			results = append(results, result{r, err})
			reached <- len(results)
		}
	}()
	for i := range kills {
		for got := range reached {
			if got == i*1000+500+i {
				break
			}
		}
		kill()
		kill = startBroker(t, cfg)
	}
	<-done
	testrun.Eventually(t, "the broker answers", natstest.Timeout, func() bool {
		_, _, err := conn.Room(natstest.Within(t))
		return err == nil
	})
	allStored(t, &natstest.Broker{Conn: conn}, results, n)
	t.Logf("%d kills, %d mails, %d of them stored by a publish whose answer was lost", kills, n, count(results, func(r result) bool { return r.Duplicate }))
}

func startBroker(t *testing.T, cfg broker.Config) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // it is killed
	cmd.Env = append(os.Environ(), dirOfBroker+"="+cfg.DataDir, addrOfBroker+"="+cfg.Listen)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	left := testrun.OnAbort(func() { _ = cmd.Process.Kill() })
	return func() {
		left()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// dial connects as a worker once the broker has started.
func dial(t *testing.T, cfg broker.Config) (c *broker.Conn) {
	t.Helper()
	cfg.Role = broker.Worker
	testrun.Eventually(t, "the broker has started", natstest.Timeout, func() bool {
		var err error
		c, err = broker.Dial(natstest.Within(t), cfg, slog.New(slog.DiscardHandler))
		return err == nil
	})
	t.Cleanup(c.Close)
	return c
}

// Command mailq is the operator's view of the queue: what is dead and why, and
// its replay.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/journal"
)

// Exit statuses: 1 where nothing matches, else from sysexits.h.
const (
	exitOK          = 0
	exitNothing     = 1
	exitUsage       = 64
	exitUnavailable = 69
	exitTempFail    = 75
	exitConfig      = 78
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// exitError is an error with the status to exit with.
type exitError struct {
	error
	status int
}

func (e *exitError) Unwrap() error { return e.error }

// app is what the commands share.
type app struct {
	lookup env.Lookup
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

func run(ctx context.Context, args []string, lookup env.Lookup, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{lookup, stdin, stdout, stderr}
	root := &cobra.Command{
		Use:           "mailq",
		Short:         "Look at the queue and act on it",
		Long:          "Look at the queue and act on it. Settings such as NATS_URL come from the environment;\nwithout them it asks the worker on this machine.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(a.dead())
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "mailq:", err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	return exitUsage
}

// connectFor bounds the wait for the broker.
const connectFor = 10 * time.Second

// connect gives the dead letters and how to let go of them.
func (a *app) connect(ctx context.Context) (*deadletter.Graveyard, operator, func(), error) {
	cfg := broker.DefaultConfig()
	cfg.Role = broker.Operator
	op := operator{MaxReplays: 5}
	if errs := env.Read(ctx, a.lookup, &cfg, &op); len(errs) > 0 {
		return nil, op, nil, &exitError{errors.Join(errs...), exitConfig}
	}
	ctx, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	c, err := broker.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, op, nil, &exitError{err, exitTempFail}
	}
	store := c.Store()
	return deadletter.New(store, journal.New(store), c.Now), op, c.Close, nil
}

// operator is what concerns an operator alone.
type operator struct {
	MaxReplays int `env:"MAX_REPLAYS" help:"How often one dead letter may be replayed."`
}

// Validate reports everything that is wrong, each error naming its variable.
func (o operator) Validate() []error {
	if o.MaxReplays < 1 {
		return []error{fmt.Errorf("MAX_REPLAYS: is %d, must be at least 1", o.MaxReplays)}
	}
	return nil
}

// Package worker has the commands that run and set up workers: for the program
// worker, and for others that have them among their own.
package worker

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/cli"
)

// Run is the command that runs a worker. environ is as of [os.Environ].
func Run(environ []string, stdout, stderr io.Writer, options ...app.Option) *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Take mail from its lanes and hand it to a relay",
		Long: `Take mail from its lanes and hand it to a relay, until told to stop. With nothing
set it starts its own broker and a development relay. Settings come from the
environment: {program} config lists them.

SIGINT and SIGTERM stop it, SIGHUP has it read the files of secrets, certificates
and rules again.`,
		Example: "  {path}\n  SMTP_URL=smtp://relay.example.com:587 {path}\n  {program} config",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			app.LimitMemory()
			return withSettings(environ, (*app.Settings).CheckRelay, func(s *app.Settings) error {
				return runUntilSignal(cmd.Context(), app.New(s, stdout, stderr, options...))
			})
		},
	}
}

// StopSignals end a worker in order. SIGHUP is not among them: see [Run].
func StopSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// IgnoreHangUp keeps SIGHUP from ending a worker that has not read its files yet: call it
// first of all. [Run] has it read them again.
func IgnoreHangUp() { signal.Ignore(syscall.SIGHUP) }

// runUntilSignal runs the worker until ctx ends or a signal arrives. A further
// signal requeues what is in flight. SIGHUP has it read files again. The signals are
// caught from the start on: a second one that follows at once must not be lost.
func runUntilSignal(ctx context.Context, w *app.Worker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, StopSignals()...)
	defer signal.Stop(signals)
	rereads := make(chan os.Signal, 1)
	signal.Notify(rereads, syscall.SIGHUP)
	defer signal.Stop(rereads)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for _, stop := range []func(){cancel, w.Stop} {
			select {
			case <-signals:
				stop()
			case <-over:
				return
			}
		}
	}()
	go func() {
		for {
			select {
			case <-rereads:
				w.Reread()
			case <-over:
				return
			}
		}
	}()
	return w.Run(ctx)
}

// withSettings reads and checks the settings, and gives errors their exit
// status.
func withSettings(environ []string, check, do func(*app.Settings) error) error {
	s, errs := app.ReadSettings(environ)
	if err := check(s); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return cli.Fail(cli.Config, errors.Join(errs...))
	}
	err := do(s)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*cli.ExitError](err); ok {
		return err
	}
	if errors.Is(err, broker.ErrRefused) {
		return cli.Fail(cli.NoPerm, err)
	}
	if _, ok := errors.AsType[*app.ConfigError](err); ok {
		return cli.Fail(cli.Config, err)
	}
	return cli.Fail(cli.Unavailable, err)
}

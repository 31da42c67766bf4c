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
environment: {program} config lists them.`,
		Example: "  {path}\n  SMTP_URL=smtp://relay.example.com:587 {path}\n  {program} config",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withSettings(cmd.Context(), environ, (*app.Settings).CheckRelay, func(s *app.Settings) error {
				w := app.New(s, stdout, stderr, options...)
				defer onSecondSignal(cmd.Context(), w.Stop)()
				return w.Run(cmd.Context())
			})
		},
	}
}

// StopSignals end a worker in order. The end of its terminal is one of them,
// unless it was started to outlive it.
func StopSignals() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// onSecondSignal calls stop at a signal that comes after ctx has ended. Call
// what it returns when there is nothing to stop any more.
func onSecondSignal(ctx context.Context, stop func()) (end func()) {
	over := make(chan struct{})
	context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, StopSignals()...)
		defer signal.Stop(again)
		select {
		case <-again:
			stop()
		case <-over:
		}
	})
	return func() { close(over) }
}

// withSettings reads and checks the settings, and gives errors their exit
// status.
func withSettings(ctx context.Context, environ []string, check, do func(*app.Settings) error) error {
	s, errs := app.ReadSettings(ctx, environ)
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
	if _, ok := errors.AsType[*app.ConfigError](err); ok {
		return cli.Fail(cli.Config, err)
	}
	return cli.Fail(cli.Unavailable, err)
}

// Command worker takes mail from its lanes and hands it to a relay. With
// nothing set it is everything at once: an embedded broker that any NATS
// client can publish to, and a development relay that keeps each mail as a
// file and sends nothing anywhere. Its settings come from the environment
// alone; docs/configuration.md lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/env"
)

// Exit statuses, from sysexits.h.
const (
	exitOK          = 0
	exitUsage       = 64
	exitUnavailable = 69
	exitConfig      = 78
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, lookup env.Lookup, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "worker",
		Short: "Take mail from its lanes and hand it to a relay",
		Long: `Take mail from its lanes and hand it to a relay, until told to stop. With nothing
set it starts a broker and a development relay of its own. Settings come from
the environment alone: worker config lists them.`,
		Example: "  worker\n  SMTP_URL=smtp://relay.example.com:587 worker\n  worker config",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q is no command of worker; its settings come from the environment", args[0])
			}
			return nil
		},
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return work(cmd.Context(), lookup, stdout, stderr) },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(configCommand(lookup, stdout))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "worker:", err)
	if _, ok := errors.AsType[*settingsError](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return exitConfig
	}
	if _, ok := errors.AsType[*serveError](err); ok {
		return exitUnavailable
	}
	return exitUsage
}

// serveError is what ended a worker that had its settings.
type serveError struct{ error }

func (e *serveError) Unwrap() error { return e.error }

func work(ctx context.Context, lookup env.Lookup, stdout, stderr io.Writer) error {
	s, errs := readSettings(ctx, lookup)
	if len(errs) > 0 {
		return &settingsError{errs}
	}
	if err := serve(ctx, s, stdout, stderr); err != nil {
		return &serveError{err}
	}
	return nil
}

// Command worker takes mail from its lanes and hands it to a relay. With
// nothing set it is everything at once: an embedded broker that any NATS
// client can publish to, and a development relay that keeps each mail as a
// file and sends nothing anywhere. Its settings come from the environment
// alone; worker config lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/version"
)

// Exit statuses, from sysexits.h.
const (
	exitOK          = 0
	exitUsage       = 64
	exitUnavailable = 69
	exitTempFail    = 75
	exitConfig      = 78
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, lookup env.Lookup, stdout, stderr io.Writer) int {
	cmd := command(lookup, stdout, stderr)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	for _, line := range sentences(err) {
		fmt.Fprintln(stderr, "worker:", line)
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	return exitUsage
}

// exitError is an error with the status to exit with.
type exitError struct {
	error
	status int
}

func (e *exitError) Unwrap() error { return e.error }

// sentences are those of joined errors, one for each problem.
func sentences(err error) []string { return strings.Split(err.Error(), "\n") }

func command(lookup env.Lookup, stdout, stderr io.Writer) *cobra.Command {
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
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withSettings(cmd.Context(), lookup, (*settings).checkRelay, func(s *settings) error {
				return serve(cmd.Context(), s, stdout, stderr)
			})
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	version.Add(root)
	root.AddCommand(configCommand(lookup, stdout), devrelayCommand(lookup, stdout, stderr), provisionCommand(lookup, stdout, stderr))
	return root
}

// withSettings reads and checks the settings, and gives what goes wrong its exit
// status.
func withSettings(ctx context.Context, lookup env.Lookup, check, do func(*settings) error) error {
	s, errs := readSettings(ctx, lookup)
	if err := check(s); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return &exitError{errors.Join(errs...), exitConfig}
	}
	err := do(s)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return &exitError{err, exitConfig}
	}
	return &exitError{err, exitUnavailable}
}

// Command worker takes mail from its lanes and hands it to a relay. With
// nothing set it is everything at once: an embedded broker that any NATS
// client can publish to, and a development relay that keeps each mail as a
// file and sends nothing anywhere. Its settings come from the environment
// alone; worker config lists them.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, lookup env.Lookup, stdout, stderr io.Writer) int {
	return cli.Run(ctx, program(lookup, stdout, stderr), args, nil, stdout, stderr)
}

func program(lookup env.Lookup, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "worker",
		Short: "Take mail from its lanes and hand it to a relay",
		Long: `Take mail from its lanes and hand it to a relay, until told to stop. With nothing
set it starts a broker and a development relay of its own. Settings come from
the environment alone: worker config lists them.`,
		Example: "  worker\n  SMTP_URL=smtp://relay.example.com:587 worker\n  worker config",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withSettings(cmd.Context(), lookup, (*settings).checkRelay, func(s *settings) error {
				return serve(cmd.Context(), s, stdout, stderr)
			})
		},
	}
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
		return cli.Fail(cli.Config, errors.Join(errs...))
	}
	err := do(s)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*cli.ExitError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return cli.Fail(cli.Config, err)
	}
	return cli.Fail(cli.Unavailable, err)
}

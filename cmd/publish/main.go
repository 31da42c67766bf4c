// Command publish puts mail into the queue and returns once the broker has
// stored it: one mail made of flags, or files that hold whole mails.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/version"
	"github.com/postrider/postrider/schema"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env.Warn(os.Stderr, "publish", os.Environ())
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// app is what the commands share.
type app struct {
	lookup env.Lookup
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
}

func run(ctx context.Context, args []string, lookup env.Lookup, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{lookup: lookup, stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now}
	root := a.root()
	root.AddCommand(a.eml(), a.schema())
	version.Add(root)
	return cli.Run(ctx, root, args, stdin, stdout, stderr)
}

func (a *app) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the envelope",
		Args:  cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.stdout, schema.JSONSchema())
			return err
		},
	}
}

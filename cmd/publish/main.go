// Command publish puts mail into the queue and returns once the broker has
// stored it: a mail made of flags, or files with messages. It is the command
// "postrider publish" as a program of its own.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/cli/publish"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env.Warn(os.Stderr, "publish", os.Environ())
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, lookup env.Lookup, stdin io.Reader, stdout, stderr io.Writer) int {
	root := publish.Command("publish", lookup)
	root.AddCommand(publish.Schema())
	version.Add(root)
	return cli.Run(ctx, root, args, stdin, stdout, stderr)
}

// Command worker takes mail from its lanes and hands it to a relay. With
// nothing set it has an embedded broker, to which any NATS client can publish,
// and a development relay, which keeps each message as a file and sends nothing
// anywhere. Its settings come from the environment; worker config lists them.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/cli/worker"
	"github.com/postrider/postrider/internal/version"
)

func main() {
	if len(os.Args) == 1 {
		worker.IgnoreHangUp()
	}
	ctx, stop := signal.NotifyContext(context.Background(), worker.StopSignals()...)
	defer stop()
	environ := os.Environ()
	root := worker.Run(environ, os.Stdout, os.Stderr)
	root.AddCommand(worker.Config(environ, os.Stdout), worker.Devrelay(environ, os.Stdout, os.Stderr), worker.Provision(environ, os.Stdout, os.Stderr))
	version.Add(root)
	os.Exit(cli.Run(ctx, root, os.Args[1:], nil, os.Stdout, os.Stderr))
}

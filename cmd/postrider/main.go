// Command postrider is the program people hold: it runs workers, publishes, shows
// the queue and what became of each message, and replays dead letters.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/cli/publish"
	"github.com/postrider/postrider/internal/cli/worker"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/version"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
)

// exitNothing: nothing matches. The other statuses are those of package cli; doctor
// has its own.
const exitNothing = 1

func main() {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		worker.IgnoreHangUp()
	}
	ctx, stop := signal.NotifyContext(context.Background(), worker.StopSignals()...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// strict are the commands to which an unknown variable is an error.
var strict = []string{"worker", "config", "provision", "devrelay"}

// app is what the commands share.
type app struct {
	lookup env.Lookup
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	// own is [broker.Conn.Own] of the connection; connect sets it.
	own string
}

func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 || !slices.Contains(strict, args[0]) {
		env.Warn(stderr, "postrider", environ)
	}
	a := &app{lookup: env.Of(environ), stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.AddCommand(a.commands(environ)...)
	version.Add(root)
	return cli.Run(ctx, root, args, stdin, stdout, stderr)
}

// root says how to begin.
func (a *app) root() *cobra.Command {
	return &cobra.Command{
		Use:   "postrider",
		Short: "Carry outbound mail: an application publishes it, workers hand it to a relay",
		Long: `Postrider carries outbound mail: an application publishes it to NATS, workers
hand it to an SMTP relay, and what fails is kept.

Begin with a worker. With nothing set it has a broker of its own and a
development relay, which keeps each message as a file and sends nothing:

  postrider worker

Publish a message, in another terminal, and look at the queue:

  postrider publish --from you@example.com --to ann@example.net --text "Hi Ann"
  postrider status`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// commands are all that the program can do, in the order of the path of a message.
func (a *app) commands(environ []string) []*cobra.Command {
	return []*cobra.Command{
		worker.Run(environ, a.stdout, a.stderr), publish.Command("postrider publish", a.lookup),
		a.status(), a.show(), a.events(), a.dead(), a.doctor(), relay(a),
		worker.Provision(environ, a.stdout, a.stderr), worker.Config(environ, a.stdout), publish.Schema(),
		worker.Healthcheck(environ, a.stdout),
		worker.Devrelay(environ, a.stdout, a.stderr), completion(), man(),
	}
}

// connectFor bounds the wait for the broker.
const connectFor = 10 * time.Second

// post is the broker, and the queue at it.
type post struct {
	*broker.Conn

	queue *queue.Queue
	op    operator
}

// connect connects to the broker; Close ends the connection.
func (a *app) connect(ctx context.Context) (*post, error) {
	op := operator{MaxReplays: 5}
	c, err := cli.Dial(ctx, a.lookup, broker.Operator, connectFor, &op)
	if err != nil {
		return nil, err
	}
	a.own = c.Own()
	return &post{c, queue.New(c.JS(), c.Store(), c.Now, c.Room), op}, nil
}

// failed adds to an error of the broker the status to exit with. own is that of [app].
func failed(err error, own string) error {
	if errors.Is(err, context.Canceled) {
		return cli.ErrInterrupted
	}
	err = queue.Explain(err, own)
	switch {
	case errors.Is(err, stream.ErrAway) && own != "", errors.Is(err, stream.ErrNoLeader):
		return cli.Fail(cli.TempFail, err)
	case errors.Is(err, stream.ErrAway):
		// A request that is not permitted is not answered either.
		return cli.Fail(cli.TempFail, fmt.Errorf("%w\nThe broker is reached, but is busy, its cluster has no leader, or it does not let this user read the queue: then set POSTRIDER_DATA_DIR to the directory of that broker, or NATS_CREDS, NATS_NKEY or NATS_USER", err))
	}
	return cli.Fail(cli.Unavailable, err)
}

// nothing is how a command ends that found nothing.
func nothing(format string, args ...any) error {
	return cli.Failf(exitNothing, format, args...)
}

// operator is what concerns an operator alone.
type operator struct {
	MaxReplays int `env:"POSTRIDER_MAX_REPLAYS" help:"How often one dead letter may be replayed."`
}

// Validate reports everything that is wrong, each error naming its variable.
func (o operator) Validate() []error {
	if o.MaxReplays < 1 {
		return []error{fmt.Errorf("POSTRIDER_MAX_REPLAYS: is %d, must be at least 1", o.MaxReplays)}
	}
	return nil
}

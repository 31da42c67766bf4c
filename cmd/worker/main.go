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
	if len(args) > 0 {
		fmt.Fprintf(stderr, "worker takes no arguments: %q; its settings come from the environment\n", args)
		return exitUsage
	}
	s, errs := readSettings(ctx, lookup)
	if len(errs) > 0 {
		for _, err := range errs {
			fmt.Fprintln(stderr, "worker:", err)
		}
		return exitConfig
	}
	err := serve(ctx, s, stdout, stderr)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "worker:", err)
	if _, ok := errors.AsType[*configError](err); ok {
		return exitConfig
	}
	return exitUnavailable
}

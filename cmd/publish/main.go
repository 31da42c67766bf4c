// Command publish puts mail into the queue and returns once the broker has
// stored it: one mail made of flags, or files that hold whole mails.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/version"
	"github.com/postrider/postrider/schema"
)

// Exit statuses, from sysexits.h.
const (
	exitOK       = 0
	exitUsage    = 64
	exitData     = 65
	exitNoInput  = 66
	exitTempFail = 75
	exitConfig   = 78
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// exitError is an error with the status to exit with.
type exitError struct {
	error
	status int
}

func (e *exitError) Unwrap() error { return e.error }

// fail is an error with that status.
func fail(status int, format string, args ...any) error {
	return &exitError{fmt.Errorf(format, args...), status}
}

func statusOf(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	return exitUsage
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
	root := a.mail()
	root.AddCommand(a.eml(), a.schema())
	version.Add(root)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		_, _ = fmt.Fprintln(stderr, "publish:", err)
	}
	return statusOf(err)
}

func (a *app) schema() *cobra.Command {
	return &cobra.Command{
		Use:           "schema",
		Short:         "Print the JSON Schema of the envelope",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.stdout, schema.JSONSchema())
			return err
		},
	}
}

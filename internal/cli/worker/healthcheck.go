package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
)

const (
	// exitUnhealthy is what container engines expect of a health check.
	exitUnhealthy = 1
	healthFor     = 4 * time.Second
)

// Healthcheck is the command with which an image without a shell, and so without
// curl, asks its own worker whether it lives.
func Healthcheck(environ []string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the worker on this machine whether it lives",
		Long: `Ask the worker on this machine, at POSTRIDER_ADMIN, whether it lives: /healthz, and
no more than that, because an outage of the broker or of the relay must not restart
workers. The status is 0 if it does and 1 if not. The image has it as its health
check.`,
		Example: "  {path}",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return health(cmd.Context(), environ, stdout) },
	}
}

func health(ctx context.Context, environ []string, stdout io.Writer) error {
	set := app.DefaultProcess()
	if errs := env.Read(env.Of(environ), &set); len(errs) > 0 {
		return cli.Fail(exitUnhealthy, errors.Join(errs...))
	}
	if _, port, _ := net.SplitHostPort(set.Admin); port == "0" {
		return cli.Failf(exitUnhealthy, "POSTRIDER_ADMIN: with port 0 nobody knows where to ask; set a port")
	}
	ctx, cancel := context.WithTimeout(ctx, healthFor)
	defer cancel()
	url := "http://" + broker.Reachable(set.Admin) + "/healthz"
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return cli.Failf(exitUnhealthy, "POSTRIDER_ADMIN: %q is not host:port", set.Admin)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy either
	answer, err := client.Do(ask)
	if err != nil {
		return cli.Failf(exitUnhealthy, "no worker answers at POSTRIDER_ADMIN: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return cli.Failf(exitUnhealthy, "%s answers %s", url, answer.Status)
	}
	_, err = fmt.Fprintln(stdout, "ok")
	return err
}

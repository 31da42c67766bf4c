package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/stream"
)

// Provision is the command that makes streams and consumers. It is for operators
// and installations: it ends, whereas a worker would wait for its broker.
func Provision(environ []string, stdout, stderr io.Writer) *cobra.Command {
	timeout := 30 * time.Second
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Make and upgrade the streams and consumers at NATS_URL, and end",
		Long: `Make and upgrade the streams and consumers at NATS_URL, and end. What all
workers share, such as POSTRIDER_ACK_WAIT, is changed for all of them. The exit
status is 75 if the broker cannot be reached: trying again may help. It is 77 if the
broker refuses the credentials.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return cli.Wrongf("--timeout: is %s, must be positive", check.Duration(timeout))
			}
			return withSettings(environ, (*app.Settings).CheckBroker, func(s *app.Settings) error {
				return provisionOnce(cmd.Context(), s, timeout, stdout, stderr)
			})
		},
	}
	cmd.Flags().Var((*env.Duration)(&timeout), "timeout", "how long to wait for a broker that cannot be reached; a cluster that is there has a minute more to form")
	return cmd
}

// provisionOnce also changes what no worker changes by itself, because all
// workers share it.
func provisionOnce(ctx context.Context, s *app.Settings, timeout time.Duration, stdout, stderr io.Writer) error {
	s.Broker.SetAckWait = true
	log := s.Process.Logger(true, stdout, stderr)
	dialing, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := broker.Dial(dialing, s.Broker, log)
	if err != nil {
		return notProvisioned(ctx, err)
	}
	defer c.Close()
	var warnings []string
	err = c.WhenFormed(ctx, func() (err error) {
		warnings, err = broker.Provision(ctx, c, s.Consumer.Lanes.Names(), s.Broker)
		return err
	})
	if err != nil {
		return notProvisioned(ctx, err)
	}
	for _, sentence := range warnings {
		log.Warn(sentence)
	}
	lanes, _ := s.Consumer.Lanes.MarshalText()
	_, err = fmt.Fprintf(stdout, "The broker at %s is ready for the lanes %s; POSTRIDER_ACK_WAIT is %s.\n", c.URL(), lanes, check.Duration(s.Broker.AckWait))
	return err
}

// notProvisioned gives an error its status: what may pass by itself, or a
// command that was told to stop, is not a problem of the settings.
func notProvisioned(ctx context.Context, err error) error {
	if errors.Is(err, stream.ErrAway) || ctx.Err() != nil {
		return cli.Fail(cli.TempFail, err)
	}
	if errors.Is(err, broker.ErrRefused) {
		return cli.Fail(cli.NoPerm, err)
	}
	return cli.Fail(cli.Config, err)
}

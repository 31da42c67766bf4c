package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/stream"
)

// provisionCommand is for operators and installations: it ends, where a worker
// would wait.
func provisionCommand(lookup env.Lookup, stdout, stderr io.Writer) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Make and upgrade the streams and consumers at NATS_URL, and end",
		Long: `Make and upgrade the streams and consumers at NATS_URL, and end. What all
workers share, such as POSTRIDER_ACK_WAIT, is changed for all of them. The status is 75
where the broker is away: trying again may help.`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return cli.Wrongf("--timeout: is %s, must be more than nothing", timeout)
			}
			return withSettings(cmd.Context(), lookup, (*settings).checkBroker, func(s *settings) error {
				return provisionOnce(cmd.Context(), s, timeout, stdout, stderr)
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for a broker that cannot be reached; a cluster that is there has a minute more to form")
	return cmd
}

// provisionOnce makes and upgrades what stands at the broker, and changes what
// no worker changes by itself because all of them share it.
func provisionOnce(ctx context.Context, s *settings, timeout time.Duration, stdout, stderr io.Writer) error {
	s.broker.SetAckWait = true
	log := newLogger(s, true, stdout, stderr)
	dialing, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := broker.Dial(dialing, s.broker, log)
	if err != nil {
		return notProvisioned(ctx, err)
	}
	defer c.Close()
	var warnings []string
	err = c.WhenFormed(ctx, func() (err error) {
		warnings, err = broker.Provision(ctx, c, s.consumer.Lanes.Names(), s.broker)
		return err
	})
	if err != nil {
		return notProvisioned(ctx, err)
	}
	for _, sentence := range warnings {
		log.Warn(sentence)
	}
	lanes, _ := s.consumer.Lanes.MarshalText()
	_, err = fmt.Fprintf(stdout, "The broker at %s is ready for the lanes %s; POSTRIDER_ACK_WAIT is %s.\n", c.URL(), lanes, s.broker.AckWait)
	return err
}

// notProvisioned tells what may pass by itself, and a command that was told to
// stop, from what somebody has to change.
func notProvisioned(ctx context.Context, err error) error {
	if errors.Is(err, stream.ErrAway) || ctx.Err() != nil {
		return cli.Fail(cli.TempFail, err)
	}
	return &configError{err}
}

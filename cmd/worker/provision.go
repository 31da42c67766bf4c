package main

import (
	"context"
	"fmt"
	"io"

	"github.com/postrider/postrider/broker"
)

// provisionOnce makes and upgrades what stands at the broker, and changes what
// no worker changes by itself because all of them share it.
func provisionOnce(ctx context.Context, s *settings, stdout, stderr io.Writer) error {
	s.broker.SetAckWait = true
	log := newLogger(s, true, stdout, stderr)
	c, err := broker.Dial(ctx, s.broker, log)
	if err != nil {
		return brokerError(err)
	}
	defer c.Close()
	var warnings []string
	err = c.WhenFormed(ctx, func() (err error) {
		warnings, err = broker.Provision(ctx, c, s.consumer.Lanes.Names(), s.broker)
		return err
	})
	if err != nil {
		return brokerError(err)
	}
	for _, sentence := range warnings {
		log.Warn(sentence)
	}
	lanes, _ := s.consumer.Lanes.MarshalText()
	_, err = fmt.Fprintf(stdout, "The broker at %s is ready for the lanes %s; ACK_WAIT is %s.\n", c.URL(), lanes, s.broker.AckWait)
	return err
}

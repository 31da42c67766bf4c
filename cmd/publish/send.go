package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/schema"
)

// publishFor bounds connecting and each publish; within it they are tried again.
const publishFor = 30 * time.Second

func (a *app) connect(ctx context.Context) (*broker.Conn, error) {
	cfg := broker.DefaultConfig()
	cfg.Role = broker.Publisher
	if errs := env.Read(ctx, a.lookup, &cfg); len(errs) > 0 {
		return nil, &exitError{errors.Join(errs...), exitConfig}
	}
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	c, err := broker.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fail(exitTempFail, "%w\nIs a worker running? Start one with: worker\nA broker elsewhere is named by NATS_URL.", err)
	}
	return c, nil
}

func (a *app) publish(ctx context.Context, c *broker.Conn, r *asked, header map[string][]string, body []byte) (broker.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	ack, err := c.Publish(ctx, r.lane, r.id, header, body)
	switch {
	case errors.Is(err, schema.ErrTooLarge):
		err = &exitError{err, exitData}
	case errors.Is(err, broker.ErrNoLane):
		err = &exitError{err, exitUsage}
	case err != nil:
		err = &exitError{err, exitTempFail}
	}
	return ack, err
}

// result is what is printed of a mail that is stored.
type result struct {
	ID        string `json:"id"`
	Lane      string `json:"lane"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`
	File      string `json:"file,omitempty"`
}

func (a *app) print(asJSON bool, r result) error {
	if asJSON {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, string(b))
		return err
	}
	word, file := "queued", ""
	if r.Duplicate {
		word = "duplicate"
	}
	if r.File != "" {
		file = " " + r.File
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s %s/%d%s\n", word, r.ID, r.Lane, r.Sequence, file)
	return err
}

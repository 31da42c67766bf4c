package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/stream"
)

// publishFor bounds connecting and each publish; within it they are tried again.
const publishFor = 30 * time.Second

func (a *app) connect(ctx context.Context) (*broker.Conn, error) {
	return cli.Dial(ctx, a.lookup, broker.Publisher, publishFor)
}

func (a *app) publish(ctx context.Context, c *broker.Conn, r *asked, header map[string][]string, body []byte) (broker.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	ack, err := c.Publish(ctx, r.lane, r.id, header, body)
	switch {
	case errors.Is(err, stream.ErrTooLarge):
		err = cli.Fail(cli.Data, err)
	case errors.Is(err, broker.ErrNoLane):
		err = cli.Wrongf("--lane: no stream takes mail of lane %s: check the name against POSTRIDER_LANES of the workers, and that one has been started", r.lane)
	case err != nil:
		err = cli.Fail(cli.TempFail, err)
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

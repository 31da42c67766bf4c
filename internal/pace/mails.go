package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/submit"
)

const (
	lane   = "normal"
	domain = "@example.net"
	// atOnce are the goroutines that publish mail by mail.
	atOnce = 16
)

// tenKilobytes are so many mails of 10 KB. The recipient of each is its id.
func tenKilobytes(n int) []*schema.Envelope {
	text := strings.Repeat("A line of the text of a mail of ten kilobytes.\n", 210)
	all := make([]*schema.Envelope, n)
	for i := range all {
		id := "m" + strconv.Itoa(i+1)
		all[i] = &schema.Envelope{
			ID: id, From: mail.Address{Email: "app@example.com"}, To: []mail.Address{{Email: id + domain}},
			Subject: "Pace", Text: &text,
		}
	}
	return all
}

// singly publishes mail by mail, many at once over one connection.
func singly(ctx context.Context, at broker.Config, mails []*schema.Envelope) error {
	return overOne(ctx, at, func(c *submit.Client) error {
		return spread(mails, func() (func(*schema.Envelope) error, func(), error) { return publisher(ctx, c), func() {}, nil })
	})
}

// apart does so over as many connections, as programs that know nothing of each other.
func apart(ctx context.Context, at broker.Config, mails []*schema.Envelope) error {
	return spread(mails, func() (func(*schema.Envelope) error, func(), error) {
		c, err := submit.Dial(ctx, at)
		if err != nil {
			return nil, nil, err
		}
		return publisher(ctx, c), c.Close, nil
	})
}

// together publishes them in batches.
func together(ctx context.Context, at broker.Config, mails []*schema.Envelope) error {
	return overOne(ctx, at, func(c *submit.Client) error {
		var last error
		for _, err := range c.PublishAll(ctx, lane, slices.Values(mails)) {
			if err != nil {
				last = err
			}
		}
		return last
	})
}

func overOne(ctx context.Context, at broker.Config, publish func(c *submit.Client) error) error {
	c, err := submit.Dial(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	return publish(c)
}

func publisher(ctx context.Context, c *submit.Client) func(*schema.Envelope) error {
	return func(e *schema.Envelope) error {
		_, err := c.Publish(ctx, lane, e)
		return err
	}
}

// spread has many goroutines publish, each by what begin gives it and then ends.
func spread(mails []*schema.Envelope, begin func() (publish func(*schema.Envelope) error, end func(), err error)) error {
	var next atomic.Int64
	errs := make([]error, atOnce)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			publish, end, err := begin()
			if errs[i] = err; err != nil {
				return
			}
			defer end()
			for n := next.Add(1); n <= int64(len(mails)); n = next.Add(1) {
				errs[i] = errors.Join(errs[i], publish(mails[n-1]))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

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

// singly publishes mail by mail.
func singly(ctx context.Context, c *submit.Client, mails []*schema.Envelope) error {
	next := make(chan *schema.Envelope)
	errs := make([]error, atOnce)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for e := range next {
				if _, err := c.Publish(ctx, lane, e); err != nil {
					errs[i] = err
				}
			}
		})
	}
	for _, e := range mails {
		next <- e
	}
	close(next)
	all.Wait()
	return errors.Join(errs...)
}

// together publishes them in batches.
func together(ctx context.Context, c *submit.Client, mails []*schema.Envelope) error {
	var last error
	for _, err := range c.PublishAll(ctx, lane, slices.Values(mails)) {
		if err != nil {
			last = err
		}
	}
	return last
}

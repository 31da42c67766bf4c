package submit

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
)

// lookEvery is how often a publish that has no answer yet looks whether one can come.
const lookEvery = 100 * time.Millisecond

// try publishes m once.
func (c *Client) try(ctx context.Context, m *nats.Msg) (stream.Ack, error) {
	watched, stop := c.answerable(ctx, m.Subject)
	defer stop()
	ack, err := c.store.Publish(watched, m)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = fmt.Errorf("%w: the connection was lost", stream.ErrAway)
	}
	return ack, err
}

// answerable is a context for a publish to that subject, which ends if no answer will
// come: if the connection was lost, or if the broker says, apart from the publish, that
// it refuses it.
func (c *Client) answerable(ctx context.Context, subject string) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	reconnects, before := c.nc.Stats().Reconnects, c.nc.LastError()
	watch.Go(func() {
		for stream.Pause(ctx, lookEvery) {
			// An error that was there before may be of permissions that have changed.
			refused := c.nc.LastError() != before && c.forbidden(subject) //nolint:errorlint // whether it is the same, not of the same kind
			if refused || !c.nc.IsConnected() || c.nc.Stats().Reconnects != reconnects {
				cancel()
			}
		}
	})
	return ctx, func() {
		cancel()
		watch.Wait()
	}
}

// forbidden reports that the broker refused a publish to that subject.
func (c *Client) forbidden(subject string) bool {
	err := c.nc.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), strconv.Quote(subject))
}

// forbiddenAdvice is what helps if a subject is forbidden.
func forbiddenAdvice(subject string) string {
	if strings.Count(subject, ".") < 3 {
		return "use the credential of a producer"
	}
	return "the producers of a worker's embedded broker have no tenants; on a broker of your own, let the tenant's account import that subject (docs/wire.md, Accounts)"
}

// who is the user that the broker knows this connection by. Of a token or a
// credentials file it names none.
func (c *Client) who() string {
	user, o := c.nc.Opts.User, c.nc.Opts
	if u, err := url.Parse(c.nc.ConnectedUrl()); err == nil && u.User != nil {
		if _, ok := u.User.Password(); ok { // else it is a token
			user = u.User.Username()
		}
	}
	if user == "" && o.UserInfo != nil {
		user, _ = o.UserInfo()
	}
	switch {
	case user != "":
		return "user " + strconv.Quote(user)
	case o.Nkey != "":
		return "nkey " + o.Nkey
	}
	return "this connection"
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/submit"
	"github.com/postrider/postrider/wire"
)

// publishFor bounds connecting and each publish. Both try again until then.
const publishFor = 30 * time.Second

// sender publishes mail through one connection, which it opens when it is first
// needed: a mail that a worker would refuse is refused without a broker.
type sender struct {
	*command

	stderr  io.Writer
	program string

	conn   *broker.Conn
	client *submit.Client
	// away is why there is no connection.
	away error
}

func (c *command) sender(cmd *cobra.Command) *sender {
	return &sender{command: c, stderr: cmd.ErrOrStderr(), program: cmd.Root().Name()}
}

// waiting says why nothing happens yet.
func (s *sender) waiting(why error) { _, _ = fmt.Fprintf(s.stderr, "%s: %v\n", s.program, why) }

// connect connects if that is not done yet, for a mail that is to be published.
// flagOf names the flag that a field comes from, for errors; empty for none.
func (s *sender) connect(ctx context.Context, e *schema.Envelope, flagOf func(field string) string) error {
	if s.client != nil {
		return nil
	}
	if err := submit.Check(e); err != nil {
		return refused(err, flagOf)
	}
	if s.away != nil {
		return cli.Failf(cli.Status(s.away), "not published either")
	}
	if s.conn, s.away = cli.Dial(ctx, s.lookup, broker.Publisher, publishFor); s.away != nil {
		return cli.Interrupted(ctx, s.away, "nothing was published")
	}
	s.client = submit.New(s.conn.NC())
	s.client.Waiting, s.client.Patience = s.waiting, publishFor
	return nil
}

// send publishes a mail.
func (s *sender) send(ctx context.Context, lane wire.Lane, e *schema.Envelope, flagOf func(field string) string) (submit.Receipt, error) {
	if err := s.connect(ctx, e, flagOf); err != nil {
		return submit.Receipt{}, err
	}
	r, err := s.client.Publish(ctx, lane, e)
	return r, s.failure(ctx, err, flagOf)
}

// failure is an error of a publish with its status.
func (s *sender) failure(ctx context.Context, err error, flagOf func(field string) string) error {
	if _, bad := errors.AsType[*schema.EnvelopeError](err); bad {
		return refused(err, flagOf)
	}
	left := "nothing was published"
	if errors.Is(err, stream.ErrAway) {
		left = "the broker may have stored the mail"
	}
	err = cli.Interrupted(ctx, err, "%s", left)
	switch {
	case err == nil, errors.Is(err, cli.ErrInterrupted):
		return err
	case errors.Is(err, stream.ErrTooLarge):
		return cli.Fail(cli.Data, err)
	case errors.Is(err, submit.ErrNoLane):
		return cli.Wrongf("--lane: %w", err)
	case errors.Is(err, submit.ErrForbidden):
		if names := s.conn.Variables(); names != "" {
			err = fmt.Errorf("%w; this is that of %s", err, names)
		}
		return cli.Fail(cli.NoPerm, err)
	case errors.Is(err, stream.ErrFull), errors.Is(err, stream.ErrAway):
		return cli.Fail(cli.TempFail, err)
	}
	return cli.Fail(cli.Unavailable, err)
}

// refused names the flag that a worker would refuse.
func refused(err error, flagOf func(field string) string) error {
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); ok {
		if flag := flagOf(bad.Field); flag != "" {
			return cli.Failf(cli.Data, "%s: a worker would refuse it: %w", flag, err)
		}
	}
	return cli.Failf(cli.Data, "a worker would refuse this mail: %w", err)
}

func (s *sender) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// result is what is printed of a mail that is stored.
type result struct {
	submit.Receipt

	File string `json:"file,omitempty"`
}

func (r result) write(cmd *cobra.Command, asJSON bool) error {
	w := cmd.OutOrStdout()
	if asJSON {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, string(b))
		return err
	}
	word, file := "queued", ""
	if r.Duplicate {
		word = "duplicate"
	}
	if r.File != "" {
		file = " " + r.File
	}
	if _, err := fmt.Fprintf(w, "%s %s %s/%d%s\n", word, r.ID, r.Lane, r.Sequence, file); err != nil || !r.Duplicate {
		return err
	}
	// Not an error: whoever tries again after a lost answer gets this too.
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s: not stored: %s/%d, published in the last ten minutes, has the id %s and is kept as it is; a mail that is to be sent besides needs another id\n",
		cmd.Root().Name(), r.Lane, r.Sequence, r.ID)
	return err
}

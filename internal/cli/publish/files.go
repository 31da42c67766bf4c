package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/submit"
	"github.com/postrider/postrider/wire"
)

// files are those that a command publishes, one mail each. A line is printed for each,
// in their order. The others are published even if one is bad.
type files struct {
	*sender

	cmd    *cobra.Command
	json   bool
	lane   wire.Lane
	names  []string
	read   func(file string) (*schema.Envelope, error)
	flagOf func(field string) string

	// unread has why a file has no mail. The goroutine that reads the files writes it
	// before it goes on to the next file.
	unread []error
	// worst is the highest status of all.
	worst int
}

func (f *files) publish(ctx context.Context) error {
	f.unread = make([]error, len(f.names))
	if i, first := f.connectFor(ctx); first != nil {
		for r, err := range f.client.PublishAll(ctx, f.lane, f.mails(i, first)) {
			i = f.skip(i)
			f.print(i, r, f.failure(ctx, err, f.flagOf))
			i++
		}
		f.skip(i)
	}
	if f.worst == cli.OK {
		return nil
	}
	return cli.Failf(f.worst, "") // each file's error is printed already
}

// connectFor reads files up to the first mail that a worker would take, and connects
// for it. Without a connection it reads them all, and first is nil.
func (f *files) connectFor(ctx context.Context) (i int, first *schema.Envelope) {
	for i, name := range f.names {
		e, err := f.read(name)
		if err == nil {
			err = f.connect(ctx, e, f.flagOf)
		}
		if err == nil {
			return i, e
		}
		f.print(i, submit.Receipt{}, err)
		if errors.Is(err, cli.ErrInterrupted) {
			break
		}
	}
	return 0, nil
}

// mails are those of the files from i on, whose own is read already.
func (f *files) mails(i int, first *schema.Envelope) iter.Seq[*schema.Envelope] {
	return func(yield func(*schema.Envelope) bool) {
		more := yield(first)
		for i++; more && i < len(f.names); i++ {
			var e *schema.Envelope
			e, f.unread[i] = f.read(f.names[i])
			if f.unread[i] == nil {
				more = yield(e)
			} else {
				more = !errors.Is(f.unread[i], cli.ErrInterrupted)
			}
		}
	}
}

// skip prints the files from i on that have no mail, and returns the first that has
// one or was not read.
func (f *files) skip(i int) int {
	for ; i < len(f.names) && f.unread[i] != nil; i++ {
		f.print(i, submit.Receipt{}, f.unread[i])
	}
	return i
}

// print prints what became of a file.
func (f *files) print(i int, r submit.Receipt, err error) {
	if err == nil {
		err = result{r, f.names[i]}.write(f.cmd, f.json)
	}
	if err != nil {
		_, _ = fmt.Fprintf(f.stderr, "%s: %s: %v\n", f.program, f.names[i], err)
		f.worst = max(f.worst, cli.Status(err))
	}
}

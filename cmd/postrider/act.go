package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

const (
	// manyDead is how many get a bar and a sum on a terminal, not a line each.
	manyDead  = 20
	whichOnes = `Name dead letters by id or origin, by ids on standard input (-), one a line, or by
flags. What "dead list" prints may be the standard input, with --json too. Exits
with 1 if an ID has no dead letter, or if none matches the flags.`
)

func (a *app) deadReplay() *cobra.Command {
	return a.acting(&act{
		done: "replayed", event: wire.EventReplayed,
		of: func(p *post) queue.Act { return p.queue.Replay(p.op.MaxReplays) },
	}, &cobra.Command{
		Use:   "replay {ID… | - | --reason … --to … --lane … --since … --until …}",
		Short: "Send dead letters again, to their dead recipients",
		Long: `Send dead letters again, to their dead recipients, with a new budget of attempts.
However often it is called, a dead letter goes out once.` + "\n\n" + whichOnes,
		Example: `  postrider dead replay m1
  postrider dead replay --reason failed --to @example.net --dry-run
  postrider dead list | grep 5.7.1 | postrider dead replay -`,
	})
}

func (a *app) deadDiscard() *cobra.Command {
	return a.acting(&act{
		done: "discarded", event: wire.EventDiscarded, final: true,
		of: func(p *post) queue.Act { return p.queue.Discard() },
	}, &cobra.Command{
		Use:   "discard {ID… | - | --reason … --to … --lane … --since … --until …}",
		Short: "Discard dead letters for good",
		Long: `Discard dead letters for good: they will not be sent, and their content is
deleted. The log keeps what happened. On a terminal it asks first.` + "\n\n" + whichOnes,
		Example: `  postrider dead discard m1
  postrider dead discard --reason bad-envelope --until 30d --dry-run`,
	})
}

// act is an act on dead letters as a command.
type act struct {
	done  string
	event wire.Event
	// final: it cannot be undone, so a person is asked.
	final bool
	of    func(p *post) queue.Act
}

func (a *app) acting(x *act, cmd *cobra.Command) *cobra.Command {
	c := &choice{}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.ids = args
		return a.act(cmd.Context(), x, c)
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "only print which dead letters would be "+x.done)
	if x.final {
		cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask first")
	}
	return cmd
}

func (a *app) act(ctx context.Context, x *act, c *choice) error {
	f, err := c.filter(time.Now())
	none := f == deadletter.Filter{}
	switch {
	case err != nil:
		return err
	case len(c.ids) == 0 && none:
		return cli.Wrongf("ID is missing, or a flag that says which dead letters are to be %s", x.done)
	case len(c.ids) > 0 && !none:
		return cli.Wrongf("name the dead letters by ID or by flags, not both")
	}
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	w := &actor{app: a, act: x, choice: c, queue: p.queue, do: x.of(p)}
	w.selection.IDs, err = readIDs(ctx, a.stdin, c.ids)
	switch {
	case errors.Is(err, cli.ErrInterrupted):
		return cli.Interrupted(ctx, err, "nothing was %s", x.done)
	case err != nil:
		return cli.Fail(cli.Data, err)
	}
	if w.selection.Filter = f; len(c.ids) > 0 && len(w.selection.IDs) == 0 {
		return nothing("standard input names no dead letter")
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	w.all(ctx)
	return w.result()
}

// actor does one thing to dead letters one after the other, and counts.
type actor struct {
	*app
	*act
	*choice

	queue     *queue.Queue
	do        queue.Act
	selection queue.Selection

	bar     queue.Bar // nil if each dead letter gets a line
	matched int
	refused int
	missing int // ids without a dead letter
	err     error
}

// prepare counts the dead letters if a person looks on: to ask, and for the bar.
func (w *actor) prepare(ctx context.Context) error {
	ask := w.final && !w.yes && !w.dryRun && cli.IsTerminal(w.stdin) && cli.IsTerminal(w.stderr)
	if !ask && (!cli.IsTerminal(w.stderr) || !cli.IsTerminal(w.stdout)) {
		return nil
	}
	n := uint64(0)
	for _, err := range w.queue.Select(ctx, w.selection) {
		if _, none := errors.AsType[*queue.NoneError](err); none {
			continue
		}
		if err != nil {
			return failed(err, w.own)
		}
		n++
	}
	if ask && n > 0 {
		fmt.Fprintf(w.stderr, "%s will be %s for good. Type yes to go on: ", queue.Counted(n, "dead letter"), w.done)
		s := bufio.NewScanner(cli.Interruptible(ctx, w.stdin))
		if s.Scan(); strings.TrimSpace(s.Text()) != "yes" {
			return nothing("nothing was %s", w.done)
		}
	}
	if n > manyDead && !w.dryRun && !w.json && cli.IsTerminal(w.stdout) {
		w.bar = w.watch(int64(n), w.done)
	}
	return nil
}

// all acts on every dead letter of the selection, whatever happens to one of them.
func (w *actor) all(ctx context.Context) {
	for l, err := range w.queue.Select(ctx, w.selection) {
		none, missing := errors.AsType[*queue.NoneError](err)
		switch {
		case missing:
			w.missing++
			fmt.Fprintf(w.stderr, "postrider: %v; postrider dead list shows them\n", none)
		case err != nil:
			w.err = errors.Join(w.err, err)
		default:
			w.matched++
			w.err = errors.Join(w.err, w.one(ctx, l))
		}
	}
}

func (w *actor) one(ctx context.Context, l *deadletter.Found) error {
	if w.dryRun {
		return w.print(l)
	}
	refused, err := w.do(ctx, l)
	if w.bar != nil {
		w.bar.Step()
	}
	switch {
	case err != nil:
		return err
	case refused != nil:
		w.refused++
		fmt.Fprintln(w.stderr, "postrider:", refused)
		return nil
	}
	return w.print(l)
}

// print says what was done, or would be.
func (w *actor) print(l *deadletter.Found) error {
	if w.json {
		return writeJSON(w.stdout, struct {
			ID        string     `json:"id"`
			Lane      wire.Lane  `json:"lane"`
			Recipient string     `json:"recipient"`
			Event     wire.Event `json:"event"`
			DryRun    bool       `json:"dry_run,omitempty"`
		}{l.Key.ID, l.Key.Lane, l.Key.Recipient, w.event, w.dryRun})
	}
	if w.bar != nil {
		return nil
	}
	done := w.done
	if w.dryRun {
		done = "would be " + done + ":"
	}
	_, err := fmt.Fprintf(w.stdout, "%s %s to %s\n", done, l.Key.ID, queue.RecipientsOf(l))
	return err
}

func (w *actor) result() error {
	if w.bar != nil {
		w.bar.End()
		fmt.Fprintf(w.stdout, "%s %s\n", w.done, queue.Counted(uint64(w.matched-w.refused), "dead letter"))
	}
	switch {
	case w.err != nil:
		return failed(w.err, w.own)
	case w.missing > 0:
		return nothing("") // which ones has been said
	case w.matched == 0:
		return nothing("no dead letter matches")
	case w.refused == w.matched:
		return nothing("nothing was %s", w.done)
	}
	return nil
}

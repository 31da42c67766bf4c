package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

func (a *app) dead() *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "Mail that failed for good: list, show, replay, discard", Example: "  postrider dead list\n  postrider dead replay --to @example.net"}
	cmd.Args = cli.NoArgs // an unknown command is an error
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(a.deadList(), a.deadShow(), a.deadReplay(), a.deadDiscard())
	return cmd
}

// choice is which dead letters a command is for.
type choice struct {
	bounds

	ids    []string
	reason string
	json   bool
	// all: of the list, one line each, also on a terminal.
	all bool
	// Of commands that act.
	dryRun, yes bool
}

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.reason, "reason", "", "only dead letters of this `REASON`: "+list(mail.Reasons))
	c.bounds.flags(cmd, "dead letters")
	f.BoolVar(&c.json, "json", false, "print a JSON object a line")
}

// filter reads the flags; its zero value says that none was set.
func (c *choice) filter(now time.Time) (f deadletter.Filter, err error) {
	f = deadletter.Filter{Reason: mail.Reason(c.reason), Recipient: c.to}
	if c.reason != "" && !slices.Contains(mail.Reasons, f.Reason) {
		return f, cli.Wrongf("--reason: %q is none of %s", c.reason, list(mail.Reasons))
	}
	f.Lane, f.Since, f.Until, err = c.read(now)
	return f, err
}

func (a *app) deadList() *cobra.Command {
	c := &choice{}
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters",
		Long: `List dead letters. On a terminal those with one reply are one entry with their
count, or with --all each has a line as wide as the terminal, with a long id cut off.
Elsewhere each has a line, oldest first: id, recipients, reason, reply (or what was
wrong) and the time when it was dead-lettered, separated by tabs. Of several flags,
all must match. Exits with 1 if there is none.`,
		Example: `  postrider dead list --reason failed --to @example.net --since 24h
  postrider dead list | grep 5.7.1 | postrider dead replay -`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listDead(cmd.Context(), c) },
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "one line each, also on a terminal")
	return cmd
}

func (a *app) listDead(ctx context.Context, c *choice) error {
	f, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	width := 0
	if !c.json {
		width = cli.Width(a.stdout)
	}
	t, found := &deadTable{each: c.all}, false
	for l, err := range p.queue.Select(ctx, queue.Selection{Filter: f}) {
		if err != nil {
			return failed(err, a.own)
		}
		if found = true; width > 0 {
			t.add(l)
			continue
		}
		if err := c.print(a.stdout, l); err != nil {
			return err
		}
	}
	switch {
	case found && width > 0:
		return t.write(a.stdout, a.paint(), width)
	case found:
		return nil
	case f == deadletter.Filter{}:
		return nothing("there is no dead letter")
	}
	return nothing("no dead letter matches")
}

// deadLetterLine is a dead letter as JSON.
type deadLetterLine struct {
	ID         string      `json:"id"`
	Origin     string      `json:"origin"`
	Lane       wire.Lane   `json:"lane"`
	Recipient  string      `json:"recipient"`
	Reason     mail.Reason `json:"reason"`
	Error      string      `json:"error"`
	At         time.Time   `json:"at"`
	Recipients []string    `json:"recipients"`
	Attempts   int         `json:"attempts"`
	Replays    int         `json:"replays"`
	Size       int         `json:"size"`
}

func (c *choice) print(out io.Writer, l *deadletter.Found) error {
	if !c.json {
		shown := cmp.Or(strings.Join(queue.AddressesOf(l), ","), "-")
		_, err := fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", l.Key.ID, shown, l.Reason, l.Error, queue.Clock(l.At))
		return err
	}
	return writeJSON(out, deadLetterLineOf(l))
}

func deadLetterLineOf(l *deadletter.Found) deadLetterLine {
	return deadLetterLine{
		l.Key.ID, l.Key.Origin, l.Key.Lane, l.Key.Recipient, l.Reason, l.Error, l.At, queue.AddressesOf(l), l.Attempts, l.Replays, len(l.Body),
	}
}

package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// question is which entries of the log are wanted.
type question struct {
	bounds

	id, event    string
	follow, json bool
	// tail is how many of the last entries are wanted; -1 if that is not said.
	tail int
}

func (a *app) events() *cobra.Command {
	q := &question{}
	cmd := &cobra.Command{
		Use:   "events [ID]",
		Short: "Read the log: what became of each message, step by step",
		Long: `Read the log: what became of each message, step by step, oldest first, for the
last 30 days; with ID, an id or an origin, only of that message. With --follow it waits
for new entries, until it is interrupted: it begins now or, if --since or --tail is given,
with those entries. Exits with 1 if nothing matches.

Each recipient has its own event, and --event and --to select recipients. In JSON an entry
also has one event of its own, that of the recipient that matters most: if one failed and
the others were delivered, it is failed.`,
		Example: `  postrider events --since 1h --event failed
  postrider events --to @example.net --since 2030-01-02T15:04:05Z
  postrider events m1
  postrider events --tail 20
  postrider events --follow --tail 10 --lane bulk`,
		Args: cli.OneAtMost("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.id = strings.Join(args, "")
			return a.printEvents(cmd.Context(), q)
		},
	}
	f := cmd.Flags()
	q.flags(cmd, "entries")
	f.StringVar(&q.event, "event", "", "only entries with a recipient that has this `EVENT`: "+list(wire.Events))
	f.BoolVar(&q.follow, "follow", false, "print new entries as they are written")
	f.IntVar(&q.tail, "tail", -1, "only the last `NUMBER` of the entries that are there")
	f.Lookup("tail").DefValue = "0" // help texts show no default of 0
	f.BoolVar(&q.json, "json", false, "print a JSON object a line")
	return cmd
}

func (q *question) filter(now time.Time) (f journal.Filter, err error) {
	f = journal.Filter{ID: q.id, Recipient: q.to, Event: wire.Event(q.event)}
	if q.event != "" && !slices.Contains(wire.Events, f.Event) {
		return f, cli.Wrongf("--event: %q is none of %s", q.event, list(wire.Events))
	}
	if f.Lane, f.Since, f.Until, err = q.read(now); err != nil {
		return f, err
	}
	switch {
	case q.follow && q.until != "":
		return f, cli.Wrongf("--follow, --until: give one of them")
	case q.tail < -1, q.tail == 0 && !q.follow:
		return f, cli.Wrongf("--tail: is %d, must be positive", q.tail)
	}
	return f, nil
}

// entries are those that the flags ask for. Whoever follows does not wait for 30 days
// of log to pass: like journalctl and kubectl logs, it begins at the end.
func (q *question) entries(ctx context.Context, log *journal.Log, f journal.Filter) iter.Seq2[*wire.Record, error] {
	switch {
	case q.tail >= 0:
		return log.Tail(ctx, f, q.tail, q.follow)
	case q.follow && q.since == "":
		return log.Tail(ctx, f, 0, true)
	case q.follow:
		return log.Follow(ctx, f)
	}
	return log.Search(ctx, f)
}

func (a *app) printEvents(ctx context.Context, q *question) error {
	f, err := q.filter(time.Now())
	if err != nil {
		return err
	}
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	found := false
	for r, err := range q.entries(ctx, journal.NewLog(p.JS()), f) {
		if err != nil {
			return failed(err, a.own)
		}
		found = true
		if q.json {
			err = writeJSON(a.stdout, r)
		} else {
			err = a.printEvent(r, f)
		}
		if err != nil {
			return err
		}
	}
	if !found && !q.follow {
		return nothing("no entry of the log matches")
	}
	return nil
}

// printEvent writes the lines of a record about the recipients that are asked for.
func (a *app) printEvent(r *wire.Record, f journal.Filter) error {
	p := a.paint()
	var b strings.Builder
	for _, l := range queue.LogLines(r, f.Recipient, f.Event) {
		fmt.Fprintf(&b, "%s  %s  %s  %s  %s\n", p.dim(queue.Clock(r.At)), p.event(l.Event), r.Lane, r.ID, l.Text())
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// event is padded, so that lines are aligned.
func (p paint) event(e wire.Event) string {
	s := fmt.Sprintf("%-9s", e)
	switch e {
	case wire.EventDelivered:
		return p.green(s)
	case wire.EventFailed, wire.EventExhausted, wire.EventExpired, wire.EventUncertain:
		return p.red(s)
	case wire.EventDeferred, wire.EventRequeued:
		return p.yellow(s)
	}
	return p.bold(s)
}

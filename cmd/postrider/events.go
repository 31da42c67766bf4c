package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// question is which entries of the log are wanted.
type question struct {
	bounds

	id, recipient, outcome string
	follow, json           bool
}

func (a *app) events() *cobra.Command {
	q := &question{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Read the log: what became of each message, step by step",
		Long: `Read the log: what became of each message, step by step, oldest first, for the
last 30 days. With --follow it waits for more until it is interrupted. Exits with 1
if nothing matches.`,
		Example: `  postrider events --since 1h --outcome failed
  postrider events --recipient @example.net --since 2030-01-02T15:04:05Z
  postrider events --follow --lane bulk`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.printEvents(cmd.Context(), q) },
	}
	f := cmd.Flags()
	q.flags(cmd, "entries")
	f.StringVar(&q.id, "id", "", "only entries of the message with this id or origin")
	f.StringVar(&q.recipient, "recipient", "", "only entries of messages to this address, or to @domain")
	f.StringVar(&q.outcome, "outcome", "", "only entries with this outcome: "+eventNames())
	f.BoolVar(&q.follow, "follow", false, "wait for more")
	f.BoolVar(&q.json, "json", false, "print a JSON object a line")
	return cmd
}

func eventNames() string {
	all := make([]string, len(wire.Events))
	for i, e := range wire.Events {
		all[i] = string(e)
	}
	return strings.Join(all, ", ")
}

func (q *question) filter(now time.Time) (f journal.Filter, err error) {
	f = journal.Filter{ID: q.id, Recipient: q.recipient, Event: wire.Event(q.outcome)}
	if q.outcome != "" && !slices.Contains(wire.Events, f.Event) {
		return f, cli.Wrongf("--outcome: %q is none of %s", q.outcome, eventNames())
	}
	if f.Lane, f.Since, f.Until, err = q.read(now); err != nil {
		return f, err
	}
	if q.follow && q.until != "" {
		return f, cli.Wrongf("--follow, --until: give one of them")
	}
	return f, nil
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
	log := journal.NewLog(p.JS())
	entries := log.Search
	if q.follow {
		entries = log.Follow
	}
	found := false
	for r, err := range entries(ctx, f) {
		if err != nil {
			return failed(err)
		}
		found = true
		if q.json {
			err = writeJSON(a.stdout, r)
		} else {
			err = a.printEvent(r, q.recipient)
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

// printEvent writes a line for each group of recipients of whom the same is said; if
// a recipient is asked for, only the line of that one.
func (a *app) printEvent(r *wire.Record, recipient string) error {
	p := a.paint()
	head := p.dim(queue.Clock(r.At)) + "  "
	var b strings.Builder
	if len(r.Recipients) == 0 {
		fmt.Fprintf(&b, "%s%s  %s  %s  %s\n", head, p.event(r.Event), r.Lane, r.ID, r.Error)
	}
	for _, g := range groups(r, recipient) {
		fmt.Fprintf(&b, "%s%s  %s  %s  %s%s\n", head, p.event(g.event), r.Lane, r.ID, names(g.addresses), g.rest)
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

// group is recipients of a record of whom the same is said.
type group struct {
	event     wire.Event
	rest      string
	addresses []string
}

func groups(r *wire.Record, recipient string) []*group {
	var all []*group
	for _, x := range r.Recipients {
		if recipient != "" && !mail.SameAddress(x.Address, recipient) {
			continue
		}
		event, rest := fateOf(r, x)
		i := slices.IndexFunc(all, func(g *group) bool { return g.event == event && g.rest == rest })
		if i < 0 {
			i = len(all)
			all = append(all, &group{event: event, rest: rest})
		}
		all[i].addresses = append(all[i].addresses, x.Address)
	}
	return all
}

// fateOf is what the record says of one recipient: a record has one event, that
// of the recipient that matters most.
func fateOf(r *wire.Record, x wire.RecipientRecord) (wire.Event, string) {
	said := queue.Clause(x.Words())
	switch {
	case r.Event == wire.EventReplayed && x.State != wire.StateDelivered, r.Event == wire.EventDiscarded && x.State == wire.StateDead:
		return r.Event, ""
	case x.State == wire.StateDelivered:
		return wire.EventDelivered, said
	case x.State == wire.StateDead:
		return wire.EventOf(x.Reason), fmt.Sprintf(": %s%s", x.Reason, cmp.Or(said, queue.Clause(r.Error)))
	case x.State == wire.StatePending:
		return wire.EventDeferred, ": pending: the next transaction of this message is for it"
	}
	return r.Waits(x.Index), fmt.Sprintf("%s; next attempt at %s", said, queue.Clock(r.Due))
}

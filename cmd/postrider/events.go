package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// question is which entries of the log are wanted.
type question struct {
	lane, id, recipient, outcome, since, until string
	follow, json                               bool
}

func (a *app) events() *cobra.Command {
	q := &question{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Read the log: what became of each message, hop by hop",
		Long: `Read the log: what became of each message, hop by hop, oldest first, for the
last 30 days. With --follow it goes on until it is interrupted. Exits with 1
where nothing matches.`,
		Example: `  postrider events --since 1h --outcome failed
  postrider events --recipient @example.net --since 2030-01-02T15:04:05Z
  postrider events --follow --lane bulk`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.printEvents(cmd.Context(), q) },
	}
	f := cmd.Flags()
	f.StringVar(&q.lane, "lane", "", "only this lane")
	f.StringVar(&q.id, "id", "", "only the message of this id or origin")
	f.StringVar(&q.recipient, "recipient", "", "only messages to this address, or to @domain")
	f.StringVar(&q.outcome, "outcome", "", "only this: "+eventNames())
	f.StringVar(&q.since, "since", "", "only since: RFC 3339, or 2h for two hours ago")
	f.StringVar(&q.until, "until", "", "only until: RFC 3339, or 2h for two hours ago")
	f.BoolVar(&q.follow, "follow", false, "wait for what comes")
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
	f = journal.Filter{Lane: wire.Lane(q.lane), ID: q.id, Recipient: q.recipient, Event: wire.Event(q.outcome)}
	if q.lane != "" {
		if err := f.Lane.Validate(); err != nil {
			return f, cli.Wrongf("--lane: %w", err)
		}
	}
	if q.outcome != "" && !slices.Contains(wire.Events, f.Event) {
		return f, cli.Wrongf("--outcome: %q is none of %s", q.outcome, eventNames())
	}
	if f.Since, err = moment(q.since, now); err != nil {
		return f, cli.Wrongf("--since: %w", err)
	}
	if f.Until, err = moment(q.until, now); err != nil {
		return f, cli.Wrongf("--until: %w", err)
	}
	if q.follow && q.until != "" {
		return f, cli.Wrongf("--follow waits for what comes, --until ends before: give one of them")
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
	entries := p.log.Search
	if q.follow {
		entries = p.log.Follow
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

// printEvent writes a line for each group of recipients that share a fate;
// with a recipient asked for, only that one's.
func (a *app) printEvent(r *wire.Record, recipient string) error {
	p := a.paint()
	head := p.dim(clock(r.At)) + "  "
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

// event is padded, so that lines stand below each other.
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

// group is recipients of a record that share a fate.
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
	said := ""
	if s := x.Words(); s != "" {
		said = ": " + s
	}
	switch {
	case r.Event == wire.EventReplayed && x.State != wire.StateDelivered, r.Event == wire.EventDiscarded && x.State == wire.StateDead:
		return r.Event, ""
	case x.State == wire.StateDelivered:
		return wire.EventDelivered, said
	case x.State == wire.StateDead:
		return wire.EventOf(x.Reason), fmt.Sprintf(": %s%s", x.Reason, orElse(said, sentence(r.Error)))
	case x.State == wire.StatePending:
		return wire.EventDeferred, ": still to be sent to, in this message"
	}
	return r.Waits(x.Index), fmt.Sprintf("%s; next attempt at %s", said, clock(r.Due))
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// writeTrace writes the envelope in short, what happened, and the state of each
// recipient.
func writeTrace(out io.Writer, p paint, t *queue.Trace, now time.Time) error {
	var b strings.Builder
	_, seq, _ := strings.Cut(t.Origin, "-")
	to := make([]string, len(t.Recipients))
	for i, f := range t.Recipients {
		to[i] = f.Address
	}
	p.field(&b, "message", p.bold(t.ID))
	p.field(&b, "queued", fmt.Sprintf("%s as %s/%s, origin %s", queue.Distant(now, t.Enqueued), t.Lane, seq, t.Origin))
	from := cmp.Or(t.From, "<>")
	if len(to) == 0 {
		from = "-" // its envelope cannot be read: "<>" is a sender too
	}
	p.field(&b, "from", from)
	p.field(&b, "to", names(to))
	p.field(&b, "subject", t.Subject)
	p.field(&b, "size", queue.Counted(uint64(t.Size), "byte"))
	p.field(&b, "tags", strings.Join(t.Tags, ", "))
	if history := t.History(); len(history) > 0 {
		b.WriteString(p.bold("History") + "\n")
		for _, e := range history {
			writeEntry(&b, p, e, t.Address)
		}
	}
	b.WriteString(p.bold("Now") + "\n")
	for _, g := range sharedFates(t) {
		fmt.Fprintf(&b, "  %s\n      %s\n", names(g.addresses), p.state(g.is))
	}
	if t.Next != "" {
		fmt.Fprintf(&b, "  %s\n", p.state(t.Next))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// field writes a line with a value and its name; nothing for an empty value.
func (p paint) field(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "%s %s\n", p.dim(fmt.Sprintf("%-8s", name)), value)
	}
}

// state colours what a sentence begins with.
func (p paint) state(s string) string {
	switch {
	case strings.HasPrefix(s, "delivered"):
		return p.green(s)
	case strings.HasPrefix(s, "dead"):
		return p.red(s)
	}
	return p.yellow(s)
}

type sharedFate struct {
	is        string
	addresses []string
}

// sharedFates groups recipients of whom the same is said.
func sharedFates(t *queue.Trace) []*sharedFate {
	var all []*sharedFate
	for _, f := range t.Recipients {
		i := slices.IndexFunc(all, func(g *sharedFate) bool { return g.is == f.Is })
		if i < 0 {
			i = len(all)
			all = append(all, &sharedFate{is: f.Is})
		}
		all[i].addresses = append(all[i].addresses, f.Address)
	}
	return all
}

// writeEntry writes an attempt, or a decision.
func writeEntry(b *strings.Builder, p paint, e queue.Entry, address func(int) string) {
	if e.Attempt != nil {
		writeAttempt(b, p, *e.Attempt, address)
		return
	}
	if said := decision(e.Record); said != "" {
		fmt.Fprintf(b, "  %s  %s\n", p.dim(queue.Clock(e.Record.At)), said)
	}
}

// decision is what a record says that no attempt says.
func decision(r *wire.Record) string {
	whose := ""
	if r.Recipient != wire.All && len(r.Recipients) > 0 {
		whose = " for " + r.Recipients[0].Address
	}
	switch r.Event {
	case wire.EventScheduled:
		return "scheduled for " + queue.Clock(r.Due) + ", its send_at"
	case wire.EventReplayed:
		return fmt.Sprintf("replay %d by an operator%s: a new budget of attempts", r.Replays, whose)
	case wire.EventDiscarded:
		return "discarded by an operator" + whose
	case wire.EventRequeued:
		return "requeued" + whose + ", the relay or the worker was at fault: no attempt is counted, next one at " + queue.Clock(r.Due)
	case wire.EventDelivered:
		return ""
	}
	switch {
	case len(r.Recipients) == 0:
		return fmt.Sprintf("dead-lettered undecoded, %s: %s", r.Reason, r.Error)
	case r.Has(wire.StatePending):
		return "more transactions of this message follow, for the recipients still pending"
	case r.Has(wire.StateDead) && r.Has(wire.StateScheduled):
		return fmt.Sprintf("%s for some, who are dead-lettered; deferred for others, next attempt at %s", r.Event, queue.Clock(r.Due))
	case r.Has(wire.StateDead):
		return fmt.Sprintf("%s%s: dead-lettered%s", r.Event, whose, queue.Clause(r.Error))
	}
	return fmt.Sprintf("%s%s, next attempt at %s", r.Event, whose, queue.Clock(r.Due))
}

// writeAttempt writes an attempt: which relay, how long it took, and the outcome of
// each recipient.
func writeAttempt(b *strings.Builder, p paint, a wire.Attempt, address func(int) string) {
	name := fmt.Sprintf("attempt %d", a.N)
	if !a.Counted {
		name = "attempt, not counted"
	}
	var took []string
	for _, x := range []struct {
		name string
		ms   int64
	}{{"connect", a.ConnectMS}, {"data", a.DataMS}, {"reply", a.DotMS}} {
		if x.ms > 0 {
			took = append(took, fmt.Sprintf("%s %d ms", x.name, x.ms))
		}
	}
	where := "nothing was sent"
	if a.Session != "" {
		where = "relay " + a.Relay + ", session " + a.Session
	}
	if len(took) == 0 {
		took = []string{"under 1 ms"}
	}
	fmt.Fprintf(b, "  %s  %s: %s, %s\n", p.dim(queue.Clock(a.At)), name, where, strings.Join(took, ", "))
	for _, o := range a.Outcomes {
		to := make([]string, len(o.Recipients))
		for i, x := range o.Recipients {
			to[i] = address(x)
		}
		at := ""
		if o.Stage != "" {
			at = " at " + strings.ToUpper(string(o.Stage))
		}
		fmt.Fprintf(b, "      %s  %s%s%s\n", names(to), p.class(o.Class), at, queue.Clause(words(o)))
	}
}

func (p paint) class(c mail.Class) string {
	switch c {
	case mail.Delivered:
		return p.green(string(c))
	case mail.Failed, mail.Uncertain:
		return p.red(string(c))
	}
	return p.yellow(string(c))
}
